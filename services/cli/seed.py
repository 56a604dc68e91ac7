"""What `septet demo` and `septet up --demo` begin with: an account, a site, the sample keywords."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from services.cli.client import BASE, Client, Json
from services.cli.output import Failed

CREDITS = 5000


def seed(admin: Client, connected: Callable[[str], Client]) -> Json:
    """Make the account, its site and its keywords; `keywords` says what became of the rows."""
    account = admin.post(f"{BASE}/admin/accounts", {"name": "Demo", "credits": CREDITS})
    client = connected(account["api_key"])
    site = client.post(
        f"{BASE}/sites",
        {"name": "Harbour Coffee", "domain": "harbour-coffee.example", "timezone": "UTC"},
    )
    imported = client.post(
        f"{BASE}/planner/keywords",
        content=sample_keywords(),
        content_type="text/csv",
        site_id=site["site_id"],
    )
    return {
        "account_id": account["account_id"],
        "api_key": account["api_key"],
        "site_id": site["site_id"],
        "keywords": imported,
    }


def sample_keywords() -> bytes:
    """Return examples/keywords.csv: of the checkout, or of the installed package."""
    for place in (Path("examples"), Path(__file__).parents[2] / "examples"):
        if (place / "keywords.csv").is_file():
            return (place / "keywords.csv").read_bytes()
    packed = files("services.cli").joinpath("keywords.csv")
    if packed.is_file():
        return packed.read_bytes()
    raise Failed("examples/keywords.csv is not there. Run this in a checkout of Septet")
