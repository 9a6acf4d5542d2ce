"""`config show`: the settings in force, under the keys of the file."""

import json

import pytest

from gateway.cli import root, settings
from gateway.config import parse
from gateway.model.errors import ConfigError

PIN = "ab" * 32
WHOLE = f"""
[gateway]
hostname = "gw.gem.example"
state_dir = "/var/lib/k"
workers = 3
policy_dir = "/etc/k/policies"
[store]
url = "sqlite:////var/lib/k/other.db"
[keys]
directory = "/var/lib/k-keys"
master_key_file = "/etc/k/master.key"
[limits]
recipients = 7
[dns]
timeout_s = 3
self_test = false
[net]
[[net.allow_ranges]]
range = "10.1.2.0/24"
ports = [2525, 25]
[queue]
retry_s = [60, 90]
warn_after_s = 120
expire_after_s = 180
[[listener]]
address = "127.0.0.9"
port = 587
tls = "implicit"
certificate = "/c"
key = "/k"
client_ca = "/ca"
proxy_from = ["10.9.0.0/30"]
client_crl = "/crl"
require_tls = false
[[listener]]
port = 25
tls = "starttls"
certificate = "/c"
key = "/k"
[[municipality]]
id = "gem"
name = "Gemeente \\"Gem\\" C:\\\\x"
oin = "00000001000000000000"
sender_domains = ["gem.example", "a.example"]
notices_from = "gw@gem.example"
notices_to = "desk@gem.example"
unattended = ["noreply@gem.example"]
unreadable = "refuse"
unreadable_authenticated = false
mixed = "refuse-all"
hold_hours = 5
page = "https://gem.example/x"
[municipality.route]
method = "fixed"
host = "10.0.0.1"
port = 2525
pins = ["{PIN}"]
requires = "any"
[municipality.alternative_person]
nl = "portaal"
en = "portal"
[municipality.alternative_unknown]
nl = "bel"
en = "call"
[[municipality]]
id = "other"
name = "Other"
sender_domains = ["other.example"]
notices_from = "gw@other.example"
[municipality.route]
method = "mx"
vouched_hosts = ["mx.other.example"]
[[client]]
id = "mta"
municipality = "gem"
sender_domains = ["gem.example"]
networks = ["10.0.0.0/24", "2001:db8::/32"]
user = "scanner"
password_file = "/p"
certificate_sha256 = ["{"cd" * 32}"]
[malware]
clamd_port = 3310
clamd_address = "::1"
timeout_s = 9
down = "accept"
[metrics]
port = 9464
[[client]]
id = "mta2"
municipality = "other"
certificate_names = ["mail.protection.outlook.example"]
tenant = {{ header = "X-Tenant", value = "a-b-c" }}
mode = "shadow"
foreign_from = "none-only"
"""


def as_toml(value, key="") -> str:
    """A nested value as TOML in dotted keys and inline arrays."""
    lines, tables = [], []
    for name, item in value.items():
        path = f"{key}.{name}" if key else name
        if isinstance(item, dict):
            tables.append(f"[{path}]\n{as_toml(item, path)}")
        elif isinstance(item, list) and any(isinstance(i, dict) for i in item):
            tables += [f"[[{path}]]\n{as_toml(each, path)}" for each in item]
        elif item is not None:
            lines.append(f"{name} = {settings.shown(item)}\n")
    return "".join(lines + tables)


def plain(config):
    """A configuration without what belongs to the text itself."""
    return {
        name: getattr(config, name)
        for name in config.__slots__
        if name not in {"text", "digest"}
    }


@pytest.mark.parametrize("text", [WHOLE, WHOLE.replace("workers = 3\n", "")])
def test_what_is_shown_gives_the_same_settings_again(text):
    config = parse(text)
    again = as_toml(settings.effective(config))
    assert plain(parse(again)) == plain(config)


def show(tmp_path, capsys, text: str = WHOLE, *more: str) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(text, "utf-8")
    arguments = ["--config", str(path), "--lang", "nl", "config", "show", *more]
    assert root.run(arguments) == 0
    return capsys.readouterr().out


def test_every_value_has_the_key_and_the_origin_it_has_in_the_file(tmp_path, capsys):
    shown = json.loads(show(tmp_path, capsys, WHOLE, "--json"))
    assert shown["digest"] == parse(WHOLE).digest
    values = shown["values"]
    assert values["gateway.hostname"] == {"value": "gw.gem.example", "origin": "file"}
    assert values["keys.directory"]["origin"] == "file"
    assert values["queue.retry_s"] == {"value": [60, 90], "origin": "file"}
    assert values["listener[1].require_tls"] == {"value": False, "origin": "file"}
    assert values["net.allow_ranges[1].ports"] == {
        "value": [25, 2525],
        "origin": "file",
    }
    assert values["municipality[1].alternative_person.nl"]["value"] == "portaal"
    # The words stand in the file, but elsewhere: the second listener and municipality.
    assert values["listener[2].require_tls"] == {"value": True, "origin": "default"}
    assert values["listener[2].address"] == {"value": "127.0.0.1", "origin": "default"}
    assert values["limits.size_octets"]["origin"] == "default"
    assert values["limits.recipients"] == {"value": 7, "origin": "file"}
    assert values["municipality[2].hold_hours"] == {"value": 72, "origin": "default"}
    assert values["municipality[2].alternative_person"]["value"] is None
    # Taken over from the municipality: nobody wrote it there.
    assert values["client[2].sender_domains"] == {
        "value": ["other.example"],
        "origin": "default",
    }


def test_a_person_reads_key_origin_and_value(tmp_path, capsys):
    lines = [line.split(None, 2) for line in show(tmp_path, capsys).splitlines()]
    rows = {key: (origin, value) for key, origin, value in lines}
    assert rows["gateway.workers"] == ("bestand", "3")
    assert rows["dns.resolver"] == ("standaard", '"127.0.0.1"')
    assert rows["listener[2].client_ca"] == ("standaard", "-")
    assert rows["municipality[1].name"] == ("bestand", r'"Gemeente \"Gem\" C:\\x"')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (3, "3"),
        ([], "[]"),
        (["a", "b"], '["a", "b"]'),
        ('a"b\\c', r'"a\"b\\c"'),
    ],
)
def test_a_value_is_shown_as_in_the_file(value, text):
    assert settings.shown(value) == text


def test_a_municipality_that_stands_there_twice_is_refused():
    twice = WHOLE.replace('id = "other"', 'id = "gem"')
    with pytest.raises(ConfigError) as caught:
        parse(twice)
    assert caught.value.place == "municipality.id"


@pytest.mark.parametrize("odd", ["den haag", "_gateway", "Gem", "", "a+b", "x" * 64])
def test_an_id_that_cannot_name_an_evidence_log_is_refused(odd):
    with pytest.raises(ConfigError) as caught:
        parse(WHOLE.replace('id = "other"', f'id = "{odd}"'))
    assert caught.value.place == "municipality[2].id"
