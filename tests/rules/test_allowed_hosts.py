"""Where an account may have its provider asked: every trick that an address can play."""

# ruff: noqa: RUF001  # letters that look like others are what this is about

import pytest

from services.allowed_hosts import NotAllowed, allowed_hosts, checked

LISTED = (
    "api.openai.com, *.openai.azure.example, gateway.example:8443, 10.0.0.7, [fd00::7], "
    "http://127.0.0.1:8080, localhost:11434, *.tools.example:8443"
)
ALLOWED = allowed_hosts(LISTED)


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com", "https://api.openai.com"),
        ("https://api.openai.com/", "https://api.openai.com"),
        ("HTTPS://API.OpenAI.COM/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com:443/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/V1/Some_path-1.2~x", "https://api.openai.com/V1/Some_path-1.2~x"),
        ("https://a.openai.azure.example/openai/v1", "https://a.openai.azure.example/openai/v1"),
        ("https://a.b.openai.azure.example", "https://a.b.openai.azure.example"),
        ("https://gateway.example:8443/v1", "https://gateway.example:8443/v1"),
        ("https://x.tools.example:8443/v1", "https://x.tools.example:8443/v1"),
        ("https://10.0.0.7/v1", "https://10.0.0.7/v1"),
        ("https://[fd00::7]/v1", "https://[fd00::7]/v1"),
        ("https://[FD00:0:0:0::7]/v1", "https://[fd00::7]/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("https://localhost:11434/v1", "https://localhost:11434/v1"),
    ],
)
def test_what_is_listed_is_kept_in_its_plain_form(address: str, plain: str) -> None:
    assert checked(address, ALLOWED) == plain
    assert checked(plain, ALLOWED) == plain


UNLISTED = [
    # other hosts, ports and schemes
    "https://example.com/v1",
    "https://openai.com/v1",
    "https://api.openai.com.evil.example/v1",
    "https://evil-api.openai.com/v1",
    "https://xapi.openai.com/v1",
    "https://openai.azure.example/v1",
    "https://xopenai.azure.example/v1",
    "https://api.openai.com:8443/v1",
    "https://api.openai.com:80/v1",
    "https://gateway.example/v1",
    "https://x.tools.example/v1",
    "https://tools.example:8443/v1",
    "http://api.openai.com/v1",
    "http://api.openai.com:443/v1",
    "https://127.0.0.1:8080/v1",
    "http://127.0.0.1/v1",
    "http://127.0.0.1:8081/v1",
    "http://localhost:11434/v1",
    # internal addresses
    "https://127.0.0.1/v1",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.8/v1",
    "https://[::1]/v1",
    "https://[::ffff:10.0.0.7]/v1",
    "https://[::ffff:a00:7]/v1",
    "https://localhost/v1",
    "https://metadata.google.internal/v1",
]
MALFORMED = [
    # user names
    "https://api.openai.com@evil.example/v1",
    "https://user:password@api.openai.com/v1",
    "https://@api.openai.com/v1",
    "https://evil.example#@api.openai.com/v1",
    "https://evil.example?@api.openai.com/v1",
    "https://evil.example\\@api.openai.com/v1",
    "https://api.openai.com%40evil.example/v1",
    # what ends the host somewhere else
    "https://api.openai.com\\.evil.example/v1",
    "https://api.openai.com\\v1",
    "https:\\\\api.openai.com\\v1",
    "https://api.openai.com#/v1",
    "https://api.openai.com?x=/v1",
    "https://api.openai.com;x/v1",
    "https://api.openai.com&x/v1",
    "https://api.openai.com,evil.example/v1",
    "https://api.openai.com%2fv1",
    "https://api.openai.com%00.evil.example/v1",
    # slashes and schemes
    "https:api.openai.com/v1",
    "https:/api.openai.com/v1",
    "https:///api.openai.com/v1",
    "//api.openai.com/v1",
    "api.openai.com/v1",
    "file:///etc/passwd",
    "ftp://api.openai.com/v1",
    "gopher://api.openai.com:443/_x",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "https+unix://api.openai.com/v1",
    "",
    "https://",
    "https://:443/v1",
    # dots
    "https://api.openai.com./v1",
    "https://.api.openai.com/v1",
    "https://api..openai.com/v1",
    "https://./v1",
    "https://-api.openai.com/v1",
    "https://api-.openai.com/v1",
    "https://api_x.openai.azure.example/v1",
    "https://*.openai.azure.example/v1",
    # white space and control characters
    " https://api.openai.com/v1",
    "https://api.openai.com/v1 ",
    "https://api.openai.com /v1",
    "https://api.openai.com/v1\n",
    "https://api.openai.com/v1\r\nHost: evil.example",
    "https://api.openai.com\t/v1",
    "ht\ntps://api.openai.com/v1",
    "https://api.openai.com\x00/v1",
    "https://api.openai.com/v1\x7f",
    # other letters, also such as look or are folded alike
    "https://аpi.openai.com/v1",  # a Cyrillic a
    "https://ａｐｉ.openai.com/v1",  # full width
    "https://api。openai。com/v1",
    "https://api．openai．com/v1",
    "https://apı.openai.com/v1",
    "https://api.openaı.com/v1",
    "https://api.openai.com\u200b/v1",
    "https://api\u00ad.openai.com/v1",
    "https://api.openai.com\u2044v1",
    "https://bücher.openai.azure.example/v1",
    "https://①②⑦.⓪.⓪.①/v1",
    "https://١٢٧.٠.٠.١/v1",
    "httpſ://api.openai.com/v1",
    "https://gateway.example:８４４３/v1",
    # numbers that some take for IPv4
    "https://2130706433/v1",
    "https://0x7f000001/v1",
    "https://0x7f.0.0.1/v1",
    "https://0177.0.0.1/v1",
    "https://010.0.0.7/v1",
    "https://127.1/v1",
    "https://127.0.1/v1",
    "https://10.0.0.7.0/v1",
    "https://10.0.0.256/v1",
    "https://10.0.0.0x7/v1",
    "https://x.1/v1",
    "https://api.openai.com.0x/v1",
    "https://0/v1",
    # IPv6
    "https://fd00::7/v1",
    "https://[fd00::7/v1",
    "https://fd00::7]/v1",
    "https://[fd00::7]x/v1",
    "https://[fd00::7%25eth0]/v1",
    "https://[fd00::7%eth0]/v1",
    "https://[]/v1",
    "https://[api.openai.com]/v1",
    "https://[v1.fd00::7]/v1",
    # ports
    "https://api.openai.com:/v1",
    "https://api.openai.com:0/v1",
    "https://api.openai.com:65536/v1",
    "https://api.openai.com:0443/v1",
    "https://api.openai.com:+443/v1",
    "https://api.openai.com:-443/v1",
    "https://api.openai.com: 443/v1",
    "https://api.openai.com:443:443/v1",
    "https://api.openai.com:https/v1",
    "https://api.openai.com:443@evil.example/v1",
    # paths
    "https://api.openai.com/v1/../admin",
    "https://api.openai.com/./v1",
    "https://api.openai.com//evil.example/v1",
    "https://api.openai.com/v1//",
    "https://api.openai.com/v1?key=x",
    "https://api.openai.com/v1#x",
    "https://api.openai.com/%2e%2e/v1",
    "https://api.openai.com/v1;x",
    "https://api.openai.com/ü",
    # lengths
    "https://api.openai.com/" + "a" * 2000,
    "https://" + "a" * 64 + ".openai.azure.example/v1",
    "https://" + "a." * 120 + "openai.azure.example/v1",
]


@pytest.mark.parametrize("address", UNLISTED)
def test_what_is_not_listed_is_not_allowed(address: str) -> None:
    with pytest.raises(NotAllowed, match="is not among the hosts"):
        checked(address, ALLOWED)


@pytest.mark.parametrize("address", MALFORMED)
def test_what_could_be_read_in_two_ways_is_no_address(address: str) -> None:
    with pytest.raises(NotAllowed, match=r"^(must|may) "):
        checked(address, ALLOWED)


def test_a_refusal_quotes_nothing_that_could_be_a_secret() -> None:
    for address in MALFORMED:
        with pytest.raises(NotAllowed) as no:
            checked(address, ALLOWED)
        assert "password" not in str(no.value)
        assert str(no.value).isascii()
        assert str(no.value).isprintable()


def test_nothing_is_allowed_by_an_empty_list() -> None:
    assert allowed_hosts(" , ") == allowed_hosts(" None ") == ()
    with pytest.raises(NotAllowed):
        checked("https://api.openai.com/v1", ())


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*.com",
        "*.*.example",
        "a.*.example",
        "*.10.0.0.7",
        "*.[fd00::7]",
        "ftp://host.example",
        "https://host.example/v1",
        "host.example/v1",
        "user@host.example",
        "host.example:0",
        "host.example.",
        "hóst.example",
        "0x7f.1",
        "127.1",
        "host one.example",
        "https://",
        "://host.example",
    ],
)
def test_a_wrong_entry_of_the_list_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as wrong:
        allowed_hosts(f"api.openai.com,{entry}")
    assert repr(entry) in str(wrong.value)
