"""What must survive a crash: queue, spool, evidence and partners in one SQL store.

`engine` opens the database and refuses a library that loses data; `writer` gives each
process one thread that commits many units at once; `work` is the transaction that use
cases see; `spool`, `queue`, `evidence` and `partners` read, and change what is theirs.
Personal data stands in sealed columns only (`sealed`): a raw search of the files finds
no address and no content.
"""
