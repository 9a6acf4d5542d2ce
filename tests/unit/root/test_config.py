"""H-19: an unknown key, a wrong type or an insecure combination refuses the start."""

import pytest

from gateway.config import parse
from gateway.model.assurance import Assurance
from gateway.model.errors import ConfigError
from gateway.model.ids import MunicipalityId
from gateway.parties import ListenerTls

GOOD = """
[gateway]
hostname = "gw.gem.example"
state_dir = "/var/lib/ketenmail"
[keys]
directory = "/var/lib/ketenmail-keys"
master_key_file = "/etc/ketenmail/master.key"
[dns]
resolver = "127.0.0.1"
[net]
[[net.allow_ranges]]
range = "127.0.0.0/8"
ports = [25]
[queue]
retry_s = [60]
[[listener]]
port = 587
tls = "starttls"
certificate = "c"
key = "k"
[[municipality]]
id = "gem"
name = "Gem"
sender_domains = ["gem.example"]
notices_from = "gw@gem.example"
[municipality.route]
method = "fixed"
host = "10.0.0.1"
pins = ["{pin}"]
[municipality.alternative_person]
nl = "portaal"
en = "portal"
[[client]]
id = "mta"
municipality = "gem"
networks = ["10.0.0.0/24"]
""".replace("{pin}", "ab" * 32)


def test_a_good_file_gives_frozen_values_with_defaults():
    config = parse(GOOD)
    assert config.workers == 2
    assert config.store_url == "sqlite:////var/lib/ketenmail/ketenmail.db"
    assert config.listeners[0].tls is ListenerTls.STARTTLS
    assert config.listeners[0].require_tls
    gem = config.municipalities[MunicipalityId("gem")]
    assert gem.route.least is Assurance.AUTHENTICATED
    assert config.clients[0].sender_domains == gem.sender_domains
    assert parse(GOOD).digest == config.digest


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[gateway]", "[gatewya]", "gateway.state_dir"),
        ('hostname = "gw.gem.example"', "", "gateway.hostname"),
        ('hostname = "gw.gem.example"', 'hostname = "gw"', "gateway.hostname"),
        ("[keys]", "[keys]\nrequire_tsl = true", "keys.require_tsl"),
        ('resolver = "127.0.0.1"', 'resolver = "9.9.9.9"', "dns.resolver"),
        ('resolver = "127.0.0.1"', 'resolver = "localhost"', "dns.resolver"),
        ("retry_s = [60]", "retry_s = []", "queue.retry_s"),
        ("retry_s = [60]", "retry_s = [true]", "queue.retry_s"),
        ("[dns]", "[limits]\nline_octets = 997\n[dns]", "limits.line_octets"),
        ("[dns]", "[limits]\nline_octets = 65537\n[dns]", "limits.line_octets"),
        ("[dns]", "[limits]\nsize_octets = 0\n[dns]", "limits.size_octets"),
        (
            "[dns]",
            "[limits]\ndisk_free_octets = 67108864\n[dns]",
            "limits.disk_free_octets",
        ),
        ("[dns]", '[malware]\ndown = "refuse"\n[dns]', "malware.clamd_port"),
        (
            "[dns]",
            '[malware]\nclamd_port = 3310\nclamd_address = "10.1.1.1"\n[dns]',
            "malware.clamd_address",
        ),
        (
            "[dns]",
            '[metrics]\nport = 9464\naddress = "0.0.0.0"\n[dns]',
            "metrics.address",
        ),
        (
            'notices_from = "gw@gem.example"',
            'notices_from = "gw@gem.example"\nunattended = ["a@gem.example"]',
            "municipality[1].notices_to",
        ),
        (
            'networks = ["10.0.0.0/24"]',
            'networks = ["10.0.0.0/24"]\ntenant = { header = "X-T", value = "1" }',
            "client[1].tenant",
        ),
        (
            'networks = ["10.0.0.0/24"]',
            'certificate_names = ["a.nl"]\ntenant = { header = "X:T", value = "1" }',
            "client[1].tenant.header",
        ),
        (
            'networks = ["10.0.0.0/24"]',
            'networks = ["10.0.0.0/24"]\nmode = "off"',
            "client[1].mode",
        ),
        ("ports = [25]", "ports = []", "net.allow_ranges[1].ports"),
        ('"127.0.0.0/8"', '"127.0.0.1/8"', "net.allow_ranges[1].range"),
        ("port = 587", "port = 0", "listener[1].port"),
        ("port = 587", 'port = "587"', "listener[1].port"),
        ('tls = "starttls"', 'tls = "none"', "listener[1].tls"),
        ('["gem.example"]', "[]", "municipality[1].sender_domains"),
        ('["gem.example"]', "[3]", "municipality[1].sender_domains"),
        ('["gem.example"]', '["gem"]', "municipality[1].sender_domains"),
        ("gw@gem.example", "gw", "municipality[1].notices_from"),
        ('host = "10.0.0.1"', 'host = "10.0.0.1"\nleast = "none"',
         "municipality[1].route.least"),
        ('host = "10.0.0.1"', 'host = "10.0.0.1"\nleast = "much"',
         "municipality[1].route.least"),
        ('nl = "portaal"', 'nl = "café"', "municipality[1].alternative_person"),
        ('municipality = "gem"', 'municipality = "gme"', "client[1].municipality"),
        ('networks = ["10.0.0.0/24"]', "", "client[1].networks"),
        ('networks = ["10.0.0.0/24"]', 'networks = ["0.0.0.0/0"]', "client[1].networks"),
        ('networks = ["10.0.0.0/24"]', 'user = "x"', "client[1].user"),
        ('id = "mta"', 'id = "mta"\nsender_domains = ["a.nl"]',
         "client[1].sender_domains"),
    ],
)  # fmt: skip
def test_each_fault_names_the_key_and_a_remedy(old, new, place):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert caught.value.place == place
    assert caught.value.remedy


@pytest.mark.parametrize(
    "other", ['networks = ["10.0.0.0/24"]', 'user = "x"\npassword_file = "/x"']
)
@pytest.mark.parametrize("known", ["names", "sha256"])
def test_a34_a_client_with_a_tenant_comes_by_its_certificate_only(known, other):
    """By network or password it would not need the field that says whose mail it is."""
    shown = (
        f'certificate_{known} = ["a.nl"]\ntenant = {{ header = "X-T", value = "1" }}'
    )
    assert parse(GOOD.replace('networks = ["10.0.0.0/24"]', shown))
    both = GOOD.replace('networks = ["10.0.0.0/24"]', f"{shown}\n{other}")
    with pytest.raises(ConfigError) as error:
        parse(both)
    assert error.value.place == "client[1].tenant"
    assert "a [[client]] of its own" in error.value.remedy


def _metrics(address, port):
    return f'[metrics]\nport = {port}\naddress = "{address}"\n[dns]'


@pytest.mark.parametrize(
    ("listener", "metrics"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),  # all of this family
        ("::", "::1"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("localhost", "127.0.0.1"),
        ("localhost", "::1"),
    ],
)
def test_h21_metrics_and_a_listener_never_share_a_door(listener, metrics):
    """Whoever came first would be served; the other would not start, or half the mail
    would go to the wrong one."""
    door = f'port = 587\naddress = "{listener}"'
    text = GOOD.replace("port = 587", door)
    assert parse(text.replace("[dns]", _metrics(metrics, 588))).metrics.port == 588
    with pytest.raises(ConfigError) as error:
        parse(text.replace("[dns]", _metrics(metrics, 587)))
    assert error.value.place == "metrics.port"
    assert "another port" in error.value.remedy


@pytest.mark.parametrize(
    ("listener", "metrics"),
    [("10.0.0.9", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), ("::", "127.0.0.1"),
     ("mail.gem.example", "127.0.0.1"), ("localhost", "127.0.0.2")],
)  # fmt: skip
def test_h21_the_same_port_at_another_address_is_another_door(listener, metrics):
    door = f'port = 587\naddress = "{listener}"'
    text = GOOD.replace("port = 587", door).replace("[dns]", _metrics(metrics, 587))
    assert parse(text).metrics.port == 587


def test_a_bad_pin_is_refused():
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace("ab" * 32, "AB" * 32))
    assert caught.value.place == "municipality[1].route.pins"


def test_a_fixed_route_without_pin_is_refused():
    with pytest.raises(ConfigError) as caught:
        parse(GOOD.replace(f'pins = ["{"ab" * 32}"]', ""))
    assert caught.value.place == "municipality[1].route.pins"


def test_what_is_no_toml_is_refused():
    with pytest.raises(ConfigError, match="TOML"):
        parse("a = ")


@pytest.mark.parametrize("table", ["listener", "municipality"])
def test_a_missing_table_is_refused(table):
    start = GOOD.index(f"[[{table}]]")
    end = GOOD.find("[[", start + 2)
    text = GOOD[:start] + (GOOD[end:] if table == "listener" else "")
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.place == table


def test_two_clients_of_one_name_are_refused():
    client = GOOD[GOOD.index("[[client]]") :]
    with pytest.raises(ConfigError, match="twice"):
        parse(GOOD + client)


def test_a_sender_domain_belongs_to_one_municipality():
    start, end = GOOD.index("[[municipality]]"), GOOD.index("[[client]]")
    other = GOOD[start:end].replace('id = "gem"', 'id = "other"')
    with pytest.raises(ConfigError, match="exactly one"):
        parse(GOOD + other)


def test_less_than_authenticated_is_possible_on_loopback_only():
    text = GOOD.replace('host = "10.0.0.1"', 'host = "127.0.0.1"\nleast = "none"')
    gem = parse(text).municipalities[MunicipalityId("gem")]
    assert gem.route.least is Assurance.NONE


@pytest.mark.parametrize("host", ["127.mail.evil.example", "::1.evil.example"])
def test_a_name_that_looks_like_loopback_is_no_loopback(host):
    text = GOOD.replace('host = "10.0.0.1"', f'host = "{host}"\nleast = "none"')
    with pytest.raises(ConfigError, match="over a network"):
        parse(text)
