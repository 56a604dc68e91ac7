"""The clauses that drafts are made of. They speak of method alone and state nothing about a topic.

In a clause {x} stands for what a section is about, as a noun phrase whose number nobody knows: it
is never a subject. Clauses are short, so that two drafts with a clause in common have few runs of
five words in common. `points` are whole sentences, `actions` are imperatives that an opener may
come before and a tail may follow.
"""

from dataclasses import dataclass
from typing import Literal

from events.content import Intent

Kind = Literal[
    "overview", "compare", "steps", "price", "trouble", "measure", "understand", "mistakes"
]


@dataclass(frozen=True, slots=True)
class Stock:
    """What can be said under a heading of one kind, and in answer to a question of that kind."""

    points: tuple[str, ...]
    actions: tuple[str, ...]
    answers: tuple[str, ...]


def lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text, without those that are empty."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


STOCK: dict[Kind, Stock] = {
    "overview": Stock(
        points=lines("""
            A short view of {x} makes the rest easier to follow.
            Most questions about {x} fall into a few groups.
            The words people use for {x} differ, and so do their aims.
            It helps to see the whole of {x} before any one part.
            People come to {x} from very different places.
            Three things shape any plan for {x}: the aim, the time and the means.
            You alone can say what a good result with {x} means.
            Advice on {x} is only as good as its fit with your case.
            Much of the trouble with {x} starts with an aim that is too vague.
            There is no single right way into {x}.
            A clear aim turns {x} from a broad subject into a short list.
            The best place to begin with {x} is what you already have.
            Expectations of {x} vary considerably from one person to another.
            A realistic idea of the necessary effort is the foundation of {x}.
            Terminology is often the first obstacle on the way to {x}.
            Reliable information about {x} tends to be detailed, dated and signed.
            Individual circumstances decide which recommendations for {x} are relevant.
            An honest inventory of resources comes before any ambition regarding {x}.
            A narrow question about {x} gets a better answer than a wide one.
            Old knowledge of {x} deserves an occasional update.
            Patience is a modest but reliable companion for {x}.
            Nobody has to know everything about {x} to begin.
            The first hour with {x} often decides about the rest.
            Other people's priorities in {x} are not automatically yours.
        """),
        actions=lines("""
            say in one sentence what you want from {x}
            note what you already know about {x}
            mark the parts of {x} that are new to you
            set the scope of {x} for your own case
            split {x} into parts that you can deal with one by one
            decide how much time {x} may take
            name the person who has the last word on {x}
            gather what you have on {x} in one place
            pick the two questions about {x} that matter most
            put the parts of {x} in an order that suits you
            leave out what has no bearing on {x}
            explain {x} to a friend and see where you falter
            identify the requirements that {x} has to satisfy
            collect reliable information about {x} from several directions
            formulate a realistic objective regarding {x}
            determine which responsibilities around {x} are yours
            organise the available material about {x} by importance
            sketch {x} on half a page
            choose one example of {x} to return to
            limit {x} to what concerns you directly
            ask three people what {x} means to them
            rate your experience with {x} honestly
            look for the most recent summary of {x}
            record why {x} became important
            agree on common words for {x}
            decide what success with {x} looks like
            mention {x} to whoever is affected
            find the one thing in {x} that cannot wait
            sort open questions on {x} by urgency
        """),
        answers=lines("""
            Start with the aim, since it decides which parts of {x} you need.
            Read one good overview first, then go to the part that touches your own case.
            The short answer is to begin small with {x} and to widen the view later.
            Know your aim, your limits and your next step; that covers most of {x}.
            Find out which terms belong to {x}, as that makes every later source easier to read.
            Plan a little more than you think you need, and stop when the aim is met.
            Write one line for each thing that you found out, with its source.
            When the step is large or hard to undo, it is time to ask someone who knows.
            Begin with one concrete case, and generalise only when it is fully understood.
            Take the question that blocks the others, and leave the interesting ones for later.
            Allow an hour for orientation, and plan the remaining effort afterwards.
            Ask whoever has done it before which part they would repeat.
            Everything that does not change your decision can safely wait.
        """),
    ),
    "compare": Stock(
        points=lines("""
            A fair look at {x} puts every option to the same test.
            The gap between two choices for {x} shows best in daily use.
            A long list of features says little about {x} in real use.
            What suits one person's {x} may be wrong for yours.
            Two or three criteria decide most choices around {x}.
            Reviews of {x} are more useful when they say who wrote them and why.
            The option that wins on paper is not always the one to use for {x}.
            A short list of three makes {x} a decision that you can finish.
            The cost of changing your mind about {x} belongs in the comparison.
            Anything that you would never use should not count for {x}.
            Small differences fade once you live with {x}.
            A choice around {x} is easier to defend when the reasons are on paper.
            How you rank the criteria tells more about {x} than any score.
            Old tests of {x} may describe something that has since changed.
            Independent evaluations of {x} usually explain how the testing was organised.
            Personal requirements deserve more attention in {x} than popularity.
            Compatibility with the equipment you already own can decide {x}.
            An alternative that needs constant attention is a questionable candidate for {x}.
            Marketing language makes alternatives for {x} appear more different than they are.
            Reliability is difficult to advertise and yet essential for {x}.
            Availability of support is an underestimated criterion for {x}.
            Recommendations for {x} always contain the preferences of their author.
            Long-term satisfaction with {x} has little to do with the first impression.
            Complicated scoring systems rarely improve a decision about {x}.
            Durability becomes visible only when {x} has been part of daily life.
            Certain advantages in {x} matter exclusively to specialists.
        """),
        actions=lines("""
            list the criteria that count for {x}
            give each option for {x} the same row in a table
            rank what you need from {x} above what you would like
            strike out each option that fails a must for {x}
            read at least two views of {x} that disagree
            check who paid for a review of {x}
            try {x} on a small scale if you can
            ask a person who has lived with {x} for a while
            look at what happens to {x} after the first weeks
            weigh the effort of a later switch against {x} as it stands
            compare {x} at the level that you would really use
            note one reason for and one against each choice in {x}
            set a date for the decision on {x}
            check that all facts about {x} come from the same year
            look for the limits that {x} comes with
            score each option for {x} before you look at the price
            separate essential requirements for {x} from desirable extras
            eliminate candidates for {x} that contradict your priorities
            examine independent measurements related to {x}
            verify the manufacturer's statements about {x}
            imagine an ordinary week with {x}
            consider maintenance and support for {x}
            investigate why former users abandoned {x}
            prefer evidence about {x} to enthusiasm
            discuss the remaining candidates for {x} with somebody experienced
            document the decisive argument regarding {x}
            reduce the number of alternatives in {x} to three
            estimate the consequences of a wrong decision on {x}
            borrow or rent before {x} becomes permanent
            read complaints about {x} as carefully as praise
            assign weights to your criteria for {x}
            picture {x} in two years
            repeat the comparison of {x} after a night's sleep
        """),
        answers=lines("""
            Write down three criteria, put each option to the same test, and drop what fails one.
            Decide what you must have first, because {x} is hard to judge by extras.
            Look at how you would use it in a normal week, and let that rank the options for {x}.
            Compare like with like: the same level, the same period and the same tasks.
            Neither side wins for everyone, so match each option to your own needs, then pick.
            Ask what would make you regret the choice, and test {x} on that point first.
            Make a short list, test the first two in real conditions, and keep notes on {x}.
            Separate essential requirements from extras, and eliminate whatever fails the first.
            Consider an ordinary week, because occasional situations should not decide about {x}.
            Independent measurements, a realistic budget and your own priorities usually settle it.
        """),
    ),
    "steps": Stock(
        points=lines("""
            Good preparation takes most of the worry out of {x}.
            Each step of {x} should leave something that you can check.
            The order of the steps matters more in {x} than speed.
            A first attempt at {x} is there to learn from.
            Steady work on {x} beats one long push.
            A plan for {x} should fit on one page.
            You will change the plan for {x} as you go, and that is fine.
            Half of {x} is knowing when a step is done.
            It is easier to repeat {x} when you wrote down what you did.
            Small, even steps keep {x} under control.
            A pause between two steps of {x} is often well spent.
            What you have at hand decides where {x} can start.
            Rules for {x} are worth more once you know the reason behind them.
            Preparation, execution and evaluation deserve equal attention in {x}.
            Consistency contributes more to {x} than occasional enthusiasm.
            Realistic intermediate goals keep the motivation for {x} alive.
            Documentation turns one successful attempt at {x} into a repeatable procedure.
            Interruptions are inevitable, so {x} should tolerate them.
            Complicated instructions for {x} become manageable in small portions.
            Experience with {x} accumulates faster when results are recorded.
        """),
        actions=lines("""
            read the whole method for {x} once from start to end
            lay out what {x} calls for
            write the steps of {x} as a numbered list
            give every step of {x} one clear action
            decide how you will see that a step of {x} has worked
            do the first round of {x} slowly
            change one thing at a time in {x}
            stop after each part of {x} and look at the result
            keep a short log of {x} with the date
            set aside more time for {x} than you expect
            ask for a second pair of eyes on {x}
            start {x} with the part that you can undo
            follow the maker's or the author's own notes on {x}
            repeat the part of {x} that went well
            adapt {x} to the place and the time that you have
            finish one part of {x} and only then begin the next
            prepare the environment in which {x} will happen
            determine a measurable intermediate goal for {x}
            anticipate interruptions during {x}
            evaluate the first results of {x} critically
            document the individual stages of {x}
            simplify whatever makes {x} unnecessarily complicated
            reserve a regular appointment for {x}
            mark the irreversible moments of {x}
            estimate the duration of {x} generously
            test your tools before {x}
            celebrate small progress in {x}
            hand over parts of {x} that others do better
        """),
        answers=lines("""
            Read the whole method first, lay out what you need, and take one step at a time.
            Break it into steps with a result that you can check, and do the first round slowly.
            Follow one source from start to end; mixing two methods makes errors hard to find.
            Begin with a small trial of {x}, note what happened, and change one thing per round.
            Prepare the place, the time and the tools, then work through the steps in order.
            Set a modest goal for the first round of {x} and raise it once that works.
            Choose a plan that fits your week, since a plan for {x} only works if you keep to it.
            Divide the procedure into stages, and evaluate every stage before you continue.
            Prepare everything in advance, since interruptions often explain poor results.
        """),
    ),
    "price": Stock(
        points=lines("""
            The price on the page is rarely the whole cost of {x}.
            Two offers for {x} can only be compared on the same terms.
            What is left out of an offer for {x} matters as much as what is in it.
            A low first payment for {x} may hide a higher one later.
            The full cost of {x} has a start, a middle and an end.
            Extras are where offers for {x} differ most.
            A written offer for {x} is worth more than a spoken one.
            Place, season and size can all move the price of {x}.
            It pays to know your upper limit before you look at {x}.
            Terms for {x} are easiest to change before you sign.
            A cheap offer for {x} is only cheap if it covers what you need.
            Time is part of what you pay for {x}.
            The way out of a deal on {x} should be as clear as the way in.
            Transparent providers explain every component of an offer for {x}.
            Additional services can considerably increase the expense of {x}.
            Cancellation conditions reveal how a provider of {x} treats its customers.
            Seasonal variation affects the availability and the price of {x}.
            A comparison of {x} requires identical quantities and identical periods.
            Guarantees regarding {x} are only as reliable as the company behind them.
            Negotiation is easier when alternatives to {x} are already on the table.
        """),
        actions=lines("""
            ask for the total price of {x} in writing
            list what is included in {x} and what is extra
            get at least three offers for {x}
            work out the cost of {x} over the whole period
            check how and when {x} can be cancelled
            look for fees that come after the start of {x}
            set a limit for {x} before you ask for offers
            compare {x} per unit, per month or per use
            find out who answers when something is wrong with {x}
            read the terms of {x} to the last line
            ask what would make {x} cheaper in your case
            keep each offer for {x} with its date
            check whether the price of {x} is fixed, and for how long
            ask what happens to {x} if your needs change
            put the running costs of {x} beside the first payment
            request a detailed quotation for {x}
            calculate the total expense of {x} over several years
            compare the conditions of {x} paragraph by paragraph
            verify the reputation of whoever provides {x}
            clarify the responsibilities before {x} is agreed
            negotiate the optional components of {x}
            document every agreement about {x}
        """),
        answers=lines("""
            Prices move with place, size and date, so get three written offers on the same terms.
            Add up the first payment, the running costs and the exit; that sum is the real price.
            Look at the current price on the provider's own page, and note the day you saw it.
            What you pay depends on scope, so define what you need from {x} before you ask.
            Check what is included, what is extra and how you can leave, then compare the totals.
            Set your limit first; it is easier to judge an offer for {x} against a fixed number.
            Request detailed quotations for identical quantities, and clarify how to cancel.
            Calculate the total over the whole period, with additional services and exit fees.
        """),
    ),
    "trouble": Stock(
        points=lines("""
            A problem like {x} is easier to solve once it is described well.
            The simple causes of {x} deserve the first look.
            What changed just before {x} began is the best clue.
            One test at a time tells you what had an effect on {x}.
            A pattern in {x} shows only when someone writes it down.
            Some cases of {x} belong in the hands of a professional.
            Quick fixes for {x} can hide the cause.
            It matters whether {x} is new or has been there for long.
            The same sign can have more than one cause, and {x} is no exception.
            Calm and a list get you further with {x} than haste.
            Safety comes before any attempt to deal with {x}.
            Systematic observation is the quickest way to understand {x}.
            Several independent causes can produce a situation like {x}.
            Professional advice is particularly valuable when {x} returns repeatedly.
            Impatience is the most frequent reason for unsuccessful attempts at {x}.
            Documentation helps a specialist to recognise the origin of {x}.
        """),
        actions=lines("""
            write down when {x} happens and when it does not
            note what changed shortly before {x}
            rule out the simplest cause of {x}
            test one idea about {x} at a time
            undo the last change and see whether {x} stays
            take a picture or a note of {x} each time
            look up the official help on {x}
            ask a professional about {x} if there is any risk
            stop at once if {x} gets worse
            give each remedy for {x} a fair time
            tell whoever helps you what you have tried against {x}
            check whether others nearby meet {x} too
            decide at which point you will get help with {x}
            describe the circumstances of {x} precisely
            eliminate the most probable explanation for {x}
            observe {x} systematically over several days
            consult a specialist about {x}
            consider recent changes in the environment of {x}
        """),
        answers=lines("""
            Note when it happens, rule out the simple causes, and test one change at a time.
            If there is any risk to health, safety or money, ask a professional before you try more.
            Look at what changed just before it began, and undo that first.
            Describe {x} in two sentences with time and place; whoever helps you will ask for that.
            Try the mildest remedy first, give it time, and write down what it did.
            Check the official help page, follow it step by step, and stop when a step fails.
            Describe the circumstances precisely, as a specialist will need this information.
            Observe systematically for several days, and eliminate the most probable explanation.
        """),
    ),
    "measure": Stock(
        points=lines("""
            A number about {x} needs a date and a source.
            Averages for {x} hide how wide the range is.
            The method behind {x} decides what the number means.
            Two figures for {x} can differ because they measure different things.
            Your own trend in {x} says more than a single value.
            A sudden jump in {x} calls for a second look at the method.
            Benchmarks for {x} are a rough guide and no verdict.
            The smaller the sample, the less a figure for {x} can tell.
            A useful measure of {x} leads to a decision.
            It is the unit that makes two values of {x} comparable.
            Rounded figures for {x} are fine while the decision is a rough one.
            Comparable conditions are essential for any measurement of {x}.
            Statistical averages of {x} rarely describe an individual situation.
            Reliable publications about {x} explain their methodology.
            Seasonal variation can make a single observation of {x} misleading.
            Precision beyond the purpose of {x} is an unnecessary effort.
        """),
        actions=lines("""
            find out the method behind {x}
            write down the unit and the date of {x}
            measure {x} the same way each time
            compare {x} with your own past values
            look for the range around {x} and not just the middle
            check who published the figure for {x}
            choose one measure of {x} and stay with it
            decide what you would do if {x} were higher or lower
            take {x} more than once before you act
            note anything unusual on the day you took {x}
            leave a margin round any estimate of {x}
            ask whether the sample behind {x} is like you
            put your results for {x} in a simple chart
            standardise the conditions under which {x} is recorded
            interpret {x} together with related observations
            consult the methodology behind published figures for {x}
            distinguish a temporary fluctuation of {x} from a lasting change
            record {x} at regular intervals
        """),
        answers=lines("""
            It depends on how it is measured, so look for a source that gives method and date.
            Take your own values over some weeks; the trend in {x} tells more than one figure.
            Use published figures for {x} as a range, and check that the sample is like your case.
            There is no single number; the range is set by the conditions that you start from.
            Measure it the same way each time, and compare it with your own past before others.
            Look for two independent sources, and trust the figure on which they agree.
            Published averages rarely describe an individual case, so read their methodology.
            Record your own observations at regular intervals, under comparable conditions.
        """),
    ),
    "understand": Stock(
        points=lines("""
            A plain definition of {x} is the base for all the rest.
            It is easier to grasp {x} with one example in mind.
            The reason behind {x} is worth more than a rule.
            Short answers about {x} are right most of the time, and then there are exceptions.
            Some sources use other words for {x} and mean the same.
            To see the point of {x}, ask what would be missing without it.
            What you read about {x} may be true only under certain conditions.
            Knowing the limits of {x} is part of knowing the whole.
            Good sources on {x} say what they are unsure of.
            A drawing often explains {x} faster than a page of text.
            The history of {x} can explain why people do it the way they do.
            You know {x} well when you can explain it without notes.
            New findings can change what is said about {x}.
            Definitions of {x} differ between disciplines and countries.
            Background knowledge makes explanations of {x} considerably shorter.
            Popular explanations of {x} occasionally sacrifice accuracy for simplicity.
            Questions about {x} become easier once the terminology is familiar.
            Contradictory statements about {x} frequently result from different assumptions.
            Curiosity and a critical attitude are the best companions for {x}.
            A historical perspective puts current opinions about {x} into proportion.
            Analogies make {x} vivid, and every analogy breaks somewhere.
            A counterexample teaches more about {x} than ten confirmations.
            Precise questions about {x} save whole evenings of reading.
            Confidence in statements on {x} should follow the evidence.
        """),
        actions=lines("""
            look up each term that belongs to {x}
            explain {x} in your own words
            find one example of {x} from your own life
            separate what is known about {x} from what is guessed
            ask on which conditions {x} may depend
            read one source on {x} that is older and one that is new
            check the claims about {x} at their source
            draw {x} as a simple sketch
            write down what still puzzles you about {x}
            look for a case where {x} may work out differently
            sort the reasons for {x} by weight
            connect {x} with something that you know well
            note who says what about {x}
            test your view of {x} on a fresh example
            consult a reference work about {x}
            distinguish definitions of {x} from opinions
            summarise {x} for somebody without previous knowledge
            examine the assumptions behind statements about {x}
            compare popular explanations of {x} with original publications
            formulate the remaining questions about {x} precisely
            follow the references given for {x}
            trace {x} back to a first principle
            teach {x} to a patient listener
            collect three definitions of {x}
            imagine the opposite of {x}
            ask what {x} would look like without exceptions
            translate {x} into everyday language
            mark every claim about {x} that lacks a source
            put {x} beside a similar idea
            ask a practitioner about {x}
            revise your notes on {x} after a week
        """),
        answers=lines("""
            The short answer depends on the conditions, so begin with a source that names them.
            Look for a plain definition, then for one example, and then for the exceptions.
            In most cases it comes down to what you start with and what you want to reach.
            Check two sources that do not quote each other; where they agree on {x}, you can build.
            It varies from case to case, and a reference work or an expert can settle yours.
            Start from the basic idea of {x}, and add detail only where your own case needs it.
            A good source will give the reason as well, and the reason helps you to judge your case.
            Contradictory answers usually rest on different assumptions, so examine these first.
            Consult a reference work for the definition, and a recent publication for details.
            Compare three definitions and keep what they share.
            Ask a practitioner for an example, and a textbook for the principle.
        """),
    ),
    "mistakes": Stock(
        points=lines("""
            Most errors with {x} come from haste and not from lack of skill.
            A mistake in {x} costs least when it is found early.
            Copying what works for others is a common slip in {x}.
            The second most common error in {x} is to stop too soon.
            Too many changes at once make {x} impossible to judge.
            Nobody gets {x} right in every detail at first.
            What looks like bad luck with {x} is often a missing check.
            It is a mistake to skip the dull parts of {x}.
            Old habits find their way back into {x}.
            Doing more is not the same as doing {x} well.
            Unrealistic expectations are responsible for many disappointments with {x}.
            Incomplete information leads to avoidable complications in {x}.
            Overconfidence becomes expensive when {x} is difficult to reverse.
            Ignoring the instructions is a surprisingly common complication in {x}.
            Unnecessary complexity is the enemy of {x}.
        """),
        actions=lines("""
            avoid starting {x} without a clear aim
            resist the urge to change everything about {x} at once
            keep the receipt, the note or the record of {x}
            check your own part in {x} before you blame the tool
            watch for the point where {x} may drift
            learn from one error in {x} at a time
            question any promise about {x} that sounds too good
            do not trust a single source on {x}
            plan for the day when something goes wrong with {x}
            review {x} after a week and again after a month
            share what went wrong with {x} so others can warn you
            examine the assumptions on which {x} is built
            prepare an alternative in case {x} fails
            avoid irreversible decisions about {x}
            communicate clearly with everybody involved in {x}
            ask newcomers what surprises them about {x}
            slow down whenever {x} feels routine
            write a warning about {x} to your later self
            replace guesses about {x} by observations
        """),
        answers=lines("""
            The usual ones are a vague aim, too many changes at once, and no notes.
            Avoid haste: most errors with {x} are easy to undo when they are found early.
            Do not copy a plan for {x} blindly; check first that it was made for a case like yours.
        """),
    ),
}

OPENERS = lines("""
    Before anything else,
    As a first step,
    Early on,
    With that in mind,
    To keep it simple,
    On a quiet day,
    From there,
    After that,
    At this point,
    If you can,
    When in doubt,
    For a start,
    In a spare hour,
    To be safe,
    Now and then,
    Where it helps,
    Once that is clear,
    To save time later,
    For your own sake,
    With pen and paper,
    In the same way,
    By the end of the day,
    Along the way,
    If time is short,
    As soon as you can,
    To get a feel for it,
    On the next round,
    Whatever you choose,
    Each time,
    As a rule,
    Independently of that,
    In an ordinary situation,
    For practical reasons,
    Under normal circumstances,
    With a realistic attitude,
    After careful consideration,
    Whenever possible,
    In addition,
    Immediately afterwards,
    As an alternative,
    To begin carefully,
    With reasonable effort,
""")
TAILS = lines("""
    so that nothing gets lost
    and add the date
    before you go further
    while the details are fresh
    even if it seems obvious
    without rushing
    so you can explain it later
    and say why
    as far as you can
    and come back to it later
    before you spend money
    to avoid surprises
    and check it twice
    and keep the result short
    so the next step is easy
    and take your time
    to keep a clear view
    to spare yourself a second round
    so others can follow
    to stay on the safe side
    before the day is over
    and keep a note of it
    so you do not have to guess
    and trust what you see
    to get a firm base
    as early as you can
    and leave the rest for later
    with a clear head
    to avoid unnecessary complications
    with appropriate caution
    as a practical precaution
    with sufficient preparation
    for future reference
    at the earliest opportunity
""")

INTRODUCTIONS: dict[Intent, tuple[str, ...]] = {
    "informational": lines("""
        Anyone who wants to understand {x} needs a clear path more than a pile of facts.
        You may have come to {x} with one question and found ten.
        There is a lot to read about {x}, and little of it was written for your case.
        If {x} is on your mind, a calm overview is a good place to begin.
        Some people want a quick answer about {x}, others want to know why.
        It takes less than you think to get a firm grip on {x}.
        Learning about {x} is easier when you know which questions to ask.
        Behind {x} there is often a small, practical need.
        Few subjects reward a second look as much as {x}.
        Newcomers and experts ask surprisingly similar questions about {x}.
        A little structure turns {x} into a manageable project.
        Opinions about {x} are plentiful, while orientation is rare.
        Curiosity about {x} is the best possible starting point.
        Whoever looks into {x} deserves a map before the details.
    """),
    "commercial": lines("""
        Choosing with confidence is the hard part of {x}.
        Anyone who compares offers for {x} soon meets more options than time.
        You want to get {x} right, and to know why it is right.
        If {x} is next on your list, a few good criteria will save you hours.
        It is easy to get lost in lists and scores when you look into {x}.
        Good decisions about {x} start with your needs and not with a ranking.
        Picking well matters, since {x} will be with you for some time.
        With {x}, the loudest offer is seldom the one to look at first.
    """),
    "transactional": lines("""
        You are close to a decision about {x} and want no surprises.
        Before you commit to {x}, a short check can save money and trouble.
        If you are ready to act on {x}, this is the moment for the last questions.
        A few minutes of care make {x} a safe step.
        When it comes to {x}, the terms deserve as much care as the offer.
        Anyone about to settle {x} should know what to ask and what to keep.
        It is worth going through {x} once more with a clear head.
        Acting on {x} is easy; acting on it well takes a short list.
    """),
    "navigational": lines("""
        You know where you want to go, and {x} stands between you and that place.
        When {x} works, it takes a moment; when it does not, you need a plan.
        If you have trouble with {x}, go through the simple causes first.
        A short routine makes {x} safe and quick.
        People who look for {x} want to arrive and not to read.
        Getting stuck at {x} is common, and most ways out are simple.
    """),
}
SCOPES = lines("""
    The sections below take up {parts}, and each can be read on its own.
    Further down you will find {parts}.
    This page goes through {parts}, with a list of common questions at the end.
    We look at {parts} in turn.
    The main parts are {parts}.
    Expect a walk through {parts}, one step after the other.
    Among other things it covers {parts}.
    What follows deals with {parts}, and then with what people ask most.
""")
STANCES = lines("""
    It gives no figures, because those change; it shows how to find and judge them.
    You will not find a verdict here, but a way to reach your own.
    The advice is about method, so it holds whatever the details of your case are.
    Facts and prices move, so check them at their source on the day you need them.
    It leaves the details to sources that can keep them current.
    Think of it as a checklist in words that you can adapt.
    Take what fits, leave the rest, and look up current details where you need them.
    The aim is a decision that you can explain, and not a quick guess.
    It is written to help you ask better questions of the sources that know.
    Nothing in it replaces the advice of someone who knows your case.
    Individual situations differ, so every recommendation here is a starting point.
    Current information always belongs to the organisations that publish it.
    Practical experience and independent sources complete what a general article can offer.
    The emphasis is on preparation, comparison and careful documentation.
    Read it with your own situation in mind.
    No brand, product or place is recommended.
    Every suggestion can be tried without special equipment.
    Skip whatever you already know.
    Questions matter more here than ready answers.
    A notebook is the only tool you need.
""")
ALSO = lines("""
    Much of this also holds for {others}.
    The same approach works for {others}.
    It applies in the same way to {others}.
    People who read this part often look for {others} too.
    Closely related is {others}, and the same care helps there.
    You can treat {others} along the same lines.
    What is said here carries over to {others}.
    Keep {others} in view as well, since the questions are alike.
""")
SEARCHED = lines("""
    This part is for readers who search for {literal}.
    Those who type {literal} into a search box will find their question here.
    It answers what most people mean by {literal}.
    A common way to put it is {literal}.
    Many arrive here by way of {literal}.
    In other words, it is about {literal}.
    Searches such as {literal} belong here too.
    You may have searched for {literal} to get this far.
""")
SECOND_ANSWERS = lines("""
    Keep a note of what you found and of the date.
    If two sources disagree, look at how each of them knows.
    When the stakes are high, ask someone who is qualified.
    Your own notes will be the best guide the next time.
    Give it a fair trial before you judge.
    The sections above show how to go about it.
    Be ready to change your mind when you learn more.
    A small test tells more than a long debate.
    Current details belong to the source that keeps them.
    That way you can explain the result to anyone.
    If that does not settle it, narrow the question.
    Ask for reasons, and not only for an opinion.
    Your case may differ, so treat any rule as a first guess.
    Two good sources are enough for most decisions.
    Write the answer down in one sentence once you have it.
    Come back to the question after a few days.
    It is fine to leave a detail open for now.
    Most of the work is done once the question is clear.
    Start with what you can check today.
    A clear aim makes this much easier.
    Look for the conditions that come with any advice.
    Stay with one method until you know its limits.
    Where it concerns health, law or money, get advice in person.
    The answer gets better with each round.
    Individual circumstances can lead to a different conclusion.
    Independent information is preferable to any single recommendation.
    A realistic estimate includes unexpected complications.
    Additional details are available from the responsible organisation.
    Professional advice is reasonable whenever the consequences are considerable.
    Experience will gradually replace uncertainty.
    Occasional repetition of the whole procedure reveals what has changed.
    Document the conditions, because comparison is impossible without them.
    A short trial is the cheapest teacher.
    Ask again when the situation changes.
    Look for agreement between theory and practice.
    One good example clarifies more than many rules.
    Patience pays here.
    The first attempt rarely tells the whole story.
    Keep the original question in sight.
    Local conditions may matter as well.
    Somebody with experience will spot what you miss.
    Simple solutions deserve the first try.
    Be suspicious of answers without conditions.
    Most details can be settled afterwards.
    A second look on another day is worthwhile.
    Compare the result with your expectation.
    Responsibility for the decision remains with you.
""")
SPARE_QUESTIONS = lines("""
    Where do I start with {x}?
    How do I check what I read about {x}?
    When should I ask an expert about {x}?
    What should I write down about {x}?
    How much time should I plan for {x}?
    What if advice on {x} does not agree?
    How do I know that I am done with {x}?
    What can I skip when it comes to {x}?
""")
CLOSINGS: dict[Intent, tuple[str, ...]] = {
    "informational": lines("""
        You now have a way to work through {x} from the question to the answer.
        The main thing about {x} is to stay curious and to check what you read.
        Not every question about {x} has to be settled at once.
        What you take from {x} depends on the questions you bring.
        A good grasp of {x} grows with each example you meet.
        Let your own notes on {x} grow with time.
        Return to {x} whenever new questions come up.
        Share what you learned about {x} with somebody who starts.
        One small experiment will teach you more about {x} than another article.
        Understanding {x} is a process with many pleasant pauses.
        Whatever remains unclear about {x} makes a good next question.
        Let curiosity decide where {x} leads you next.
    """),
    "commercial": lines("""
        A decision on {x} is good when you can give three reasons for it.
        By now the short list for {x} should be short indeed.
        When two options for {x} are level, take the one that is easier to leave.
        You do not need the perfect answer to {x}, only one that fits.
        Once you have chosen, give {x} time before you look again.
        Let your criteria for {x} decide, and not the last review you read.
    """),
    "transactional": lines("""
        With the answers on paper, {x} is a small step.
        Go ahead with {x} when each open question has an answer.
        If one point about {x} is still unclear, ask before you pay.
        A good deal on {x} still looks good the next morning.
        The last check before {x} is the one that saves most trouble.
        Keep every record of {x} until you are sure that all is well.
    """),
    "navigational": lines("""
        If you still cannot get through with {x}, use the official help.
        Keep the way you solved {x} for the next time.
        When {x} fails again, start from the first step.
        Never share a password to get past {x}, whoever asks.
        Save the right address once {x} works, and use only that.
        The people who run the service can see more of {x} than you can.
    """),
}
REMINDERS = lines("""
    Know your aim before you look for answers.
    Write down what you decide, and why.
    Check dates on everything that you rely on.
    Change one thing at a time.
    Ask who is behind a claim.
    Keep the first version simple.
    Compare on equal terms.
    Plan the way back before you start.
    Give new habits time to settle.
    Let a real test decide close calls.
    Put safety ahead of speed.
    Treat averages with care.
    Prefer sources that name their limits.
    Set a date for the next review.
    Leave some slack in time and money.
    Drop what has not helped so far.
    Get a second opinion on large steps.
    Look at the total and not at the first figure.
    Repeat what worked, and note what did not.
    Share your notes with those who are affected.
    Trust what you can check yourself.
    Mind the exceptions to every rule.
    Finish one part before the next.
    Return to your aim when you feel lost.
    Separate essential requirements from preferences.
    Verify important information independently.
    Prepare an alternative for unexpected situations.
    Document decisions together with their reasons.
    Consider the consequences before any commitment.
    Prioritise reliability over novelty.
    Evaluate the results at regular intervals.
    Communicate expectations clearly and early.
""")
REMINDED = lines("""
    Before you leave, keep these points in mind:
    Some reminders for the way:
    To sum up in short:
    These are worth a note:
    In brief:
    What to hold on to:
    The essence in a few lines:
    For your notes:
""")
RELATED = lines("""
    If you want to read on, these articles of the site are close to the subject:
    More on neighbouring subjects:
    These pages go further into related questions:
    Readers of this page may also find these useful:
    The site has more on what lies close by:
    To go deeper, turn to:
""")
LISTED = lines("""
    A short list for this part:
    It comes down to a few tasks:
    In practice that means:
    Work through these in turn:
    The tasks for this part are few:
    What to do next:
    Put into single steps:
    A plain order of work:
    Here is one way to go about it:
    Take these one by one:
""")
