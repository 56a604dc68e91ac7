"""Writes searchers' lower-case words as a person would: title case, acronyms, brands, hyphens."""

import re


def word_set(text: str) -> frozenset[str]:
    """Return the words of a list that is written as a line of text."""
    return frozenset(text.split())


SMALL = word_set(
    "a an and as at but by for from if in into nor of on onto or per the to via vs vs. with without"
)

# what title case would get wrong, by lower-case word
SPELLINGS = {
    spelling.lower(): spelling
    for spelling in word_set(
        "AI API APR ATV B2B B2C BBQ BMI BPA CBD CEO CPA CPC CPM CPU CRM CSS CSV CTA CTR CV DIY DKIM"
        " DMARC DNS DSLR DVD ERP ESP EU EV FAQ FHA GA4 GDPR GPS GPU HDMI HIIT HIPAA HOA HR HRV HSA"
        " HTML HTTP HTTPS HVAC IELTS IKEA IP IPO IRA IRS ISO JSON JPG KPI LED LEGO LLC MBA MBTI MLA"
        " NAS NASA NFT NYC OBD OLED PC PCOS PDF PHP PNG POS PPC PR PTO PVC QR RACI RAM ROI RPM"
        " RSS RV SEM SEO SERP SLA SMS SMTP SPF SQL SSD SSL SUV SWOT TSA TV UI UK URL"
        " USA USB USD UTM UV UX VA VIN VPN VPS WWI XML YAML YTD 2D 3D 4K 5G 4G"
        " eBay eSIM iOS iPad iPhone macOS kg kW kWh mph mAh SaaS IoT PhD OKRs KPIs FAQs"
        " AirPods BigCommerce ClickUp ConvertKit DeLonghi eBook eBooks GitHub GitLab HubSpot"
        " JavaScript LinkedIn MailerLite MacBook McDonald's MySQL NordVPN OpenAI PayPal PlayStation"
        " PostgreSQL PowerPoint QuickBooks TikTok TypeScript WhatsApp WooCommerce WordPress YouTube"
        " Monday.com A/B Asana Etsy Excel Facebook Garmin Gmail Google Instagram Jira Klaviyo"
        " Mailchimp Pinterest Salesforce Shopify Trello Zapier"
    )
}

# words that belong together, by lower-case phrase; read in this order
PHRASES: dict[re.Pattern[str], str] = {
    re.compile(rf"\b{phrase}\b"): written
    for phrase, written in {
        "it band": "IT band",
        "opt[ -]in": "opt-in",
        "opt[ -]out": "opt-out",
        "follow[ -]up": "follow-up",
        "pop[ -]up": "pop-up",
        "popup": "pop-up",
        "signup form": "sign-up form",
        "sign in$": "sign-in",
        "re engagement": "re-engagement",
        "grain free": "grain-free",
        "gluten free": "gluten-free",
        "no pull": "no-pull",
        "in home": "in-home",
        "flat footed": "flat-footed",
        "noise cancell?ing": "noise-cancelling",
        "step by step": "step-by-step",
        "long distance running": "long-distance running",
        "click through rate": "click-through rate",
        "pour over": "pour-over",
        "runners knee": "runner's knee",
        "sub (\\d+) hour": "sub-\\1-hour",
        "top rated": "top-rated",
        "(\\d+) (week|day|month|year) (?=[a-z])": "\\1-\\2 ",
    }.items()
}
UNITS = re.compile(r"^(\d+(?:\.\d+)?)(kwh|kw|mah|gb|tb|mb|ghz|mhz|mm|cm|kg|k|w|v|p)$")
UNIT_SPELLINGS = {
    "kwh": "kWh",
    "kw": "kW",
    "mah": "mAh",
    "gb": "GB",
    "tb": "TB",
    "mb": "MB",
    "ghz": "GHz",
    "mhz": "MHz",
    "k": "K",
    "w": "W",
    "v": "V",
}
VITAMIN = re.compile(r"\bvitamin ([a-k])\b")
MODEL_NUMBER = re.compile(r"^[a-z]\d+$")


def tidy(text: str) -> str:
    """Return the text with single spaces, the known hyphens, and no word twice in a row."""
    text = " ".join(text.split())
    for phrase, written in PHRASES.items():
        text = phrase.sub(written, text)
    text = VITAMIN.sub(lambda match: match[0][:-1] + match[1].upper(), text)
    return re.sub(r"\b([a-z]+)(?: \1\b)+", r"\1", text).strip(" ,;:-")


def title_case(text: str) -> str:
    """Return the text in title case: small words low, except first, last and after a colon."""
    words = tidy(text).split()
    last = len(words) - 1
    cased = []
    for at, word in enumerate(words):
        starts = at in (0, last) or words[at - 1].endswith((":", "?", "."))
        cased.append(word if word in SMALL and not starts else _cased(word))
    return " ".join("vs." if word in ("Vs", "vs", "Vs.") else word for word in cased)


def spelled(text: str) -> str:
    """Return the text in lower case but for the words whose spelling is known, like VPN."""
    return " ".join(_spelled(word) for word in tidy(text).split())


def _spelled(word: str) -> str:
    if word in ("vs", "versus"):
        return "vs."
    if spelling := SPELLINGS.get(word):
        return spelling
    unit = UNITS.match(word)
    return unit[1] + UNIT_SPELLINGS.get(unit[2], unit[2]) if unit else word


def _cased(word: str) -> str:
    bare = word.rstrip(",:;?!")
    tail = word[len(bare) :]
    if spelling := SPELLINGS.get(bare.lower()):
        return spelling + tail
    if unit := UNITS.match(bare):
        return unit[1] + UNIT_SPELLINGS.get(unit[2], unit[2]) + tail
    if MODEL_NUMBER.match(bare):
        return bare.upper() + tail
    parts = bare.split("-")
    return "-".join(_capital(part, first=at == 0) for at, part in enumerate(parts)) + tail


def _capital(part: str, *, first: bool) -> str:
    if spelling := SPELLINGS.get(part.lower()):
        return spelling
    if part in SMALL and not first and part != "in":
        return part
    return part[:1].upper() + part[1:]
