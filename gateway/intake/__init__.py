"""Mail comes in: SMTP sessions to messages, and the reply that is a promise."""
