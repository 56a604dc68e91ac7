"""The shapes that searchers give a keyword, and how an article about each is titled and divided."""

import re
from dataclasses import dataclass

from services.stage_workers.ai.local.casing import word_set

GERUNDS = {
    "buy": "Buying",
    "order": "Ordering",
    "book": "Booking",
    "get": "Getting",
    "rent": "Renting",
    "hire": "Hiring",
    "renew": "Renewing Your",
    "find": "Finding",
    "choose": "Choosing",
    "compare": "Comparing",
}
IMPERATIVES = word_set(
    "stop avoid prevent improve increase reduce grow build fix make create write set install"
    " remove clean learn start train teach use save speed boost change calculate measure"
)
OWNED = ("grow", "build", "improve", "increase", "boost", "speed", "reduce")
DETERMINERS = ("a", "an", "the", "your", "my", "more", "our")
AUXILIARIES = word_set("is are am was were do does did can could should will would has have")
ASKING = AUXILIARIES | word_set("how what why when who where which")


@dataclass(frozen=True, slots=True)
class Form:
    """How keywords of one shape read. `lead` is the title's first part, with the groups of `shape`.

    `tails` follow a colon in a title; `sections` are headings for an article that has few others.
    """

    name: str
    shape: re.Pattern[str]
    lead: str
    tails: tuple[str, ...]
    sections: tuple[str, ...]


def _form(name: str, shape: str, lead: str, tails: str, sections: str) -> Form:
    return Form(
        name=name,
        shape=re.compile(shape),
        lead=lead,
        tails=tuple(tails.split("|")),
        sections=tuple(sections.split("|")),
    )


# the first shape that a keyword has is its form
FORMS: tuple[Form, ...] = (
    _form(
        "difference",
        r"^(?:what is )?(?:the )?difference between (?P<x>.+ and .+)$",
        "The Difference Between {x}",
        "A Clear Explanation|What to Know Before You Choose",
        "The Short Answer|Where They Differ|When to Use Which",
    ),
    _form(
        "versus",
        r"^(?P<x>.+ (?:vs\.?|versus) .+)$",
        "{x}",
        "How They Compare|Key Differences and How to Choose|Key Differences Explained",
        "The Main Differences|Side by Side|When to Choose Which",
    ),
    _form(
        "how to",
        r"^(?P<x>how to .+)$",
        "{x}",
        "A Step-by-Step Guide|Steps, Tips, and Common Mistakes|What to Do and What to Avoid",
        "Before You Start|Step by Step|Common Mistakes",
    ),
    _form(
        "how long to",
        r"^(?P<how>how (?:long|much|often|many \w+)|when|where) to (?P<x>.+)$",
        "{how} Should You {x}?",
        "|A Clear Answer|What It Depends On",
        "The Short Answer|What It Depends On|How to Tell",
    ),
    _form(
        "how much in",
        r"^(?P<how>how much \w+) (?P<x>in .+)$",
        "{how} Is {x}?",
        "|A Clear Answer|What It Depends On",
        "The Short Answer|What It Depends On|How to Tell",
    ),
    _form(
        "aside",
        r"^(?P<x>.+) (?P<ask>(?:is|are) (?:it|they) \w+)$",
        "{x}: {ask}?",
        "|What to Check First",
        "The Short Answer|What to Check|Safer Alternatives",
    ),
    _form(
        "question",
        rf"^(?P<x>(?:{'|'.join(sorted(ASKING))})\b.+)$",
        "{x}?",
        "|A Clear Answer|What to Know",
        "The Short Answer|The Background|Why It Matters",
    ),
    _form(
        "near me",
        r"^(?P<x>.+) near me$",
        "{x} Near You",
        "How to Compare Local Options|What to Ask Before You Decide",
        "Where to Look|What to Ask First|Comparing Your Options",
    ),
    _form(
        "navigation",
        r"^(?P<x>.+ (?:login|sign[ -]?in|log in|customer service|support number"
        r"|(?<!template )download))$",
        "{x}",
        "Steps and Common Problems|What to Do When It Does Not Work",
        "Step by Step|When It Does Not Work|Keeping Your Account Safe",
    ),
    _form(
        "template",
        r"^(?P<x>.*\b(?:templates?|checklist|worksheet|planner)\b.*)$",
        "{x}",
        "What to Include and How to Use It|How to Fill It In Well",
        "What to Include|How to Fill It In|Adapting It to Your Needs",
    ),
    _form(
        "calculator",
        r"^(?P<x>.*\bcalculator)$",
        "{x}",
        "What to Enter and How to Read the Result",
        "What You Need to Know First|How to Read the Result|Limits of an Estimate",
    ),
    _form(
        "best",
        r"^(?:the )?(?:best|top)(?:[ -]rated)? (?P<x>.+)$",
        "How to Choose the Best {x}",
        "|What to Compare First|Criteria That Matter",
        "Criteria That Matter|Options to Compare|Mistakes to Avoid",
    ),
    _form(
        "review",
        r"^(?P<x>.+ reviews?)$",
        "{x}",
        "What to Check Before You Buy|How to Judge It for Your Needs",
        "What to Check|Who It Is For|Alternatives to Consider",
    ),
    _form(
        "alternatives",
        r"^(?P<x>.+ (?:alternatives?|competitors?)|(?:tools|apps|sites|software) like .+)$",
        "{x}",
        "How to Compare Your Options|What to Look For Before You Switch",
        "Why People Switch|What to Compare|How to Move Over",
    ),
    _form(
        "worth it",
        r"^(?P<x>.+ worth it)$",
        "Are {x}?",
        "What to Weigh Up",
        "What You Gain|What It Costs|Who Should Skip It",
    ),
    _form(
        "explained",
        r"^(?P<x>.+) explained$",
        "{x} Explained",
        "A Plain-English Guide|The Essentials",
        "The Basics|How It Works in Practice|Common Misunderstandings",
    ),
    _form(
        "pros and cons",
        r"^(?P<x>.+ pros and cons)$",
        "{x}",
        "What to Weigh Up|A Balanced Look",
        "The Case For|The Case Against|How to Decide",
    ),
    _form(
        "buy online",
        r"^(?P<y>.+) (?P<verb>buy|order) online$",
        "{gerund} {y} Online",
        "What to Check First|A Buyer's Guide",
        "What to Check First|Where to Look|Delivery and Returns",
    ),
    _form(
        "order",
        rf"^(?P<verb>{'|'.join(GERUNDS)}) (?P<y>.+)$",
        "{gerund} {y}",
        "What to Check First|What to Know Before You Decide",
        "What to Check First|Where to Look|Questions to Ask",
    ),
    _form(
        "imperative",
        rf"^(?P<verb>{'|'.join(sorted(IMPERATIVES))}) (?P<y>.+)$",
        "How to {verb} {y}",
        "A Step-by-Step Guide|What to Do and What to Avoid",
        "Before You Start|Step by Step|Common Mistakes",
    ),
    _form(
        "price",
        r"^(?P<x>.*\b(?:costs?|prices?|pricing|fees?|rates? per)\b.*)$",
        "{x}",
        "What to Budget For|What to Compare Before You Pay|How to Work Out the Total",
        "What the Price Includes|What Changes the Price|Ways to Spend Less",
    ),
    _form(
        "deal",
        r"^(?P<x>.*\b(?:discount|coupon|promo code|sale|deals?|free trial|subscription|delivery"
        r"|wholesale|tickets?|quote|cheap flights|gifts?)\b.*)$",
        "{x}",
        "What to Check Before You Commit|How to Compare Your Options|What to Know First",
        "What Is Included|What to Compare|The Small Print",
    ),
    _form(
        "trouble",
        r"^(?P<x>.*\b(?:not \w+ing|errors?|faults?|fault codes|problems?|pain|headaches?"
        r"|regression|barks|barking|lunges|bites|chews|jumps|crying|peeing|injur(?:y|ies))\b.*)$",
        "{x}",
        "What to Check and What to Try|Possible Causes and Next Steps",
        "What to Check First|What to Try|When to Ask a Professional",
    ),
    _form(
        "comparison",
        r"^(?P<x>.+ comparison)$",
        "{x}",
        "What to Look At First|How to Compare Your Options",
        "Criteria That Matter|Options to Compare|How to Decide",
    ),
    _form(
        "purchase",
        r"^(?P<x>.*\b(?:cheap|affordable|buy|software|tools?|apps?|platform|service|shoes|watch"
        r"|grinder|machine|kettle|maker|under \d+|companies|contractors?|installers?)\b.*)$",
        "{x}",
        "How to Compare Your Options|What to Look For|A Buyer's Guide",
        "What to Look For|Options to Compare|Mistakes to Avoid",
    ),
    _form(
        "choice",
        r"^(?P<x>.+ or .+)$",
        "{x}",
        "How to Decide|What to Weigh Up",
        "The Case for Each|What to Compare|Combining Both",
    ),
    _form(
        "measure",
        r"^(?P<x>(?:average\b.*|.*\b(?:rates?|ratio|benchmarks?|length|temperature|amount|pace|roi"
        r"|efficiency|time|period|size|by age|by weight)\b.*))$",
        "{x}",
        "How to Read the Numbers|What the Numbers Mean|What to Know and How to Compare",
        "How It Is Measured|What Changes the Number|How to Compare Yours",
    ),
    _form(
        "examples",
        r"^(?P<x>.*\b(?:examples?|ideas|tips|exercises|patterns|questions)\b.*)$",
        "{x}",
        "What to Use and When|A Practical Collection|How to Make Them Work for You",
        "How to Choose|Putting Them to Use|Common Mistakes",
    ),
    _form(
        "plan",
        r"^(?P<x>.*\b(?:plan|schedule|recipe|routine|program|sequence|series|campaign|setup"
        r"|technique|training|treatment|maintenance)\b.*)$",
        "{x}",
        "A Practical Guide|How to Get It Right|Where to Start and What to Watch",
        "Before You Start|Step by Step|How to Track Progress",
    ),
    _form(
        "topic",
        r"^(?P<x>.+)$",
        "{x}",
        "A Practical Guide|What You Need to Know|The Essentials",
        "The Basics|In Practice|Common Mistakes",
    ),
)
