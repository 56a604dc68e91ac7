# ruff: noqa: RUF001  # Chinese punctuation is meant
"""Articles that a content team would accept, for the tests to spoil in one way each."""

from dataclasses import replace
from typing import Any

from services.stage_workers.quality.written import Written

COLD_BREW = """\
Cold brew coffee is made with time instead of heat. Ground beans sit in cold water for half a
day, and the result tastes smooth and sweet. This guide shows you how to make it at home, and what
to change when the first glass is too weak or too bitter.

## What You Need

You need a jar with a lid, a fine sieve, fresh beans and clean water. A scale helps, because a
scoop of dark beans weighs less than a scoop of light ones. If you own a coffee grinder, set it to
the coarsest step. Fine powder slips through the sieve and makes the drink cloudy.

## The Right Ratio

The usual cold brew ratio is one part of coffee to eight parts of water. That gives a drink which
you can pour over ice as it is. For a concentrate, use one part to four. Write down what you used,
so that the next jar comes out the same.

- 100 grams of coffee and 800 grams of water make a light drink.
- 100 grams of coffee and 400 grams of water make a concentrate.

## How to Make It Step by Step

Put the grounds into the jar and pour the water over them. Stir until nothing floats. Close the lid
and leave the jar in the fridge for sixteen hours. Then pour it slowly through the sieve, and once
more through a paper filter if you like it clear. You can read more about beans in our guide to
[light roasts](/light-roasts).

## Frequently Asked Questions

### How long does cold brew last?

It keeps for a week in a closed bottle in the fridge. After that the taste turns flat, although it
is still safe to drink for a few days more.

### Is cold brew stronger than iced coffee?

A concentrate is. Once it has been mixed with water or milk, a glass has about as much caffeine as
a cup from the filter. Iced coffee is brewed hot, so it tastes sharper and keeps for a shorter
time.

## Your Next Jar

Change one thing at a time. Try a coarser grind first, then a longer wait, then other beans. After
three jars you will know what you like, and the whole work takes ten minutes of your day.
"""

GOOD = Written(
    title="Cold Brew Coffee: A Practical Guide",
    body=COLD_BREW,
    meta_title="Cold Brew Coffee: A Practical Guide",
    meta_description="How to make cold brew coffee at home: the ratio, the steps and how it keeps.",
    keywords=("cold brew coffee", "cold brew ratio", "how long does cold brew last"),
    links=("/light-roasts",),
)

CHINESE = """\
冷萃咖啡是用时间而不是热量做出来的咖啡。把磨好的咖啡粉泡在冷水里，放上半天，味道会变得柔和又甜。\
这篇文章告诉你怎样在家里做，也告诉你味道太淡或者太苦的时候应该改什么。

## 需要准备什么

你需要一个带盖子的玻璃瓶、一个细筛子、新鲜的咖啡豆和干净的水。厨房秤也很有用，因为同样一勺深烘豆比\
浅烘豆轻。如果家里有磨豆机，请调到最粗的一档。粉太细会穿过筛子，让咖啡变得浑浊。

## 合适的比例

常用的冷萃比例是一份咖啡配八份水，这样做出来的咖啡可以直接加冰喝。想做浓缩液的话，用一份咖啡配四份水。\
把每次用的分量写下来，下一瓶就能做出同样的味道。水的质量也会影响味道，自来水最好先过滤一遍。

## 一步一步来做

先把咖啡粉放进瓶子，再把冷水慢慢倒进去，搅拌到没有粉浮在上面。盖好盖子，放进冰箱冷藏十六个小时。\
时间到了以后，用筛子慢慢过滤，喜欢更清澈的可以再用滤纸过滤一次。过滤的时候不要用力挤压咖啡渣，\
不然会带出苦味。做好的咖啡装进干净的瓶子里，密封好再放回冰箱。

## 常见问题

### 冷萃咖啡能放多久？

在密封的瓶子里可以冷藏一个星期。之后味道会变淡，不过几天之内还是可以放心喝的。

### 冷萃比冰咖啡更浓吗？

浓缩液更浓。加了水或者牛奶以后，一杯里的咖啡因和普通滤泡咖啡差不多。冰咖啡是热水冲出来的，\
所以喝起来更酸，也放不了那么久。

## 下一瓶怎么改

每次只改一样东西。先试更粗的研磨，再试更长的时间，最后换别的豆子。做过三瓶以后，你就知道自己喜欢什么了，\
而每天花的时间只有十分钟左右。
"""

IN_CHINESE = Written(
    title="冷萃咖啡做法指南",
    body=CHINESE,
    meta_title="冷萃咖啡做法指南",
    meta_description="在家做冷萃咖啡需要什么、用什么比例、怎样一步一步来做，以及能放多久。",
    keywords=("冷萃咖啡", "冷萃比例"),
)


def good(**changes: Any) -> Written:
    """Return the English article with these fields changed."""
    return replace(GOOD, **changes)


def spoiled(old: str, new: str) -> Written:
    """Return the English article with a passage replaced; it must be there once."""
    assert COLD_BREW.count(old) == 1
    return good(body=COLD_BREW.replace(old, new))
