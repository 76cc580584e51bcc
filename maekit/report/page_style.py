"""How the page and its charts look: one quiet palette, in light and in dark, for a desktop, a phone and paper."""

from collections.abc import Sequence

NUM_LEVELS = 21  # steps of a heat map's ramp

LIGHT = {
    "page": "#f5f6f8", "paper": "#ffffff", "ink": "#18212d", "soft": "#566272", "rule": "#dce1e8", "accent": "#1c5c9e",
    "wash": "#eef3f9",
}  # fmt: skip
DARK = {
    "page": "#10151c", "paper": "#171e27", "ink": "#e7ecf3", "soft": "#9caab9", "rule": "#2b3542", "accent": "#7db8f2",
    "wash": "#1e2834",
}  # fmt: skip
# Eight hues that also differ in lightness; each is at least 3:1 against its paper. The first is the accent.
LIGHT_SERIES = ("#1c5c9e", "#c2501b", "#16805c", "#7d3f98", "#8f6b00", "#2583a8", "#b02a5b", "#4a5563")
DARK_SERIES = ("#7db8f2", "#f39b68", "#58c79c", "#cf9be8", "#e2bd50", "#8bdcf0", "#f58bae", "#b6c1cf")
# A ramp of one hue, even in lightness: pale to deep on white, deep to pale on black.
LIGHT_RAMP = ("#eef4fb", "#a9cbe8", "#5b97c9", "#256aa6", "#0a2c55")
DARK_RAMP = ("#1d2836", "#1f4d7d", "#3a80bd", "#86bae6", "#e9f4ff")


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb`, 0 (black) to 1 (white), as the Web's contrast rules define it."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour`: the two are equal at a luminance of 0.179."""
    return "#000000" if luminance(colour) > 0.179 else "#ffffff"


def ramp_colours(stops: Sequence[str], count: int = NUM_LEVELS) -> list[str]:
    """`count` colours from the first stop to the last, straight between neighbours."""
    found = []
    for i in range(count):
        at = i / (count - 1) * (len(stops) - 1)
        k = min(int(at), len(stops) - 2)
        pairs = zip(_channels(stops[k]), _channels(stops[k + 1]), strict=True)
        found.append("#" + "".join(f"{round(a + (b - a) * (at - k)):02x}" for a, b in pairs))
    return found


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _variables(palette: dict[str, str], series: Sequence[str], ramp: Sequence[str]) -> str:
    named = dict(palette) | {f"s{i}": colour for i, colour in enumerate(series)}
    for level, colour in enumerate(ramp_colours(ramp)):
        named[f"h{level}"] = colour
        named[f"t{level}"] = ink_on(colour)
    return ":root{" + "".join(f"--{name}:{colour};" for name, colour in named.items()) + "}"


def _marks() -> str:
    series = "".join(f".chart .s{i}{{--c:var(--s{i})}}" for i in range(len(LIGHT_SERIES)))
    levels = "".join(f".chart .h{i}{{fill:var(--h{i})}}.chart .t{i}{{fill:var(--t{i})}}" for i in range(NUM_LEVELS))
    return series + levels


CHART_STYLE = (
    _variables(LIGHT, LIGHT_SERIES, LIGHT_RAMP)
    + "@media screen and (prefers-color-scheme:dark){"
    + _variables(DARK, DARK_SERIES, DARK_RAMP)
    + "}"
    + _marks()
    + """
.chart{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",sans-serif;
 font-variant-numeric:tabular-nums}
.chart text{fill:var(--ink)}
.chart .soft{fill:var(--soft)}
.chart .axis{fill:var(--ink);font-weight:600}
.chart .grid{stroke:var(--rule);fill:none}
.chart .base{stroke:var(--soft);fill:none}
.chart .lead{stroke:var(--soft);stroke-width:.75;stroke-dasharray:1 2;fill:none}
.chart .line{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round;stroke-linecap:butt}
.chart .fine{stroke-width:1}
.chart .band{fill:var(--c);fill-opacity:.13}
.chart .mark{fill:var(--c);stroke:var(--paper);stroke-width:1}
.chart .open{fill:none;stroke:var(--c);stroke-width:2}
.chart .dot{fill:var(--paper);stroke:var(--c);stroke-width:1.2}
.chart .hit{fill:transparent}
.chart .hit:hover{fill:var(--ink);fill-opacity:.25}
.chart .none{fill:var(--paper);stroke:var(--soft);stroke-width:.75;stroke-dasharray:2 3}
.chart .void{fill:none;stroke:var(--rule);stroke-dasharray:4 4}
"""
)

PAGE_STYLE = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
 font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",sans-serif}
.frame{max-width:1240px;margin:0 auto;padding:40px 24px 72px}
header{max-width:970px}
h1{font-size:30px;line-height:1.25;letter-spacing:-.01em;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:21px;line-height:1.3;margin:0 0 14px;padding-top:14px;border-top:2px solid var(--accent);
 overflow-wrap:anywhere}
h3{font-size:16px;margin:0 0 4px;overflow-wrap:anywhere}
p{margin:0 0 10px;overflow-wrap:anywhere}
.created,.note,figcaption{color:var(--soft);font-size:14px}
.summary{list-style:none;margin:22px 0 0;padding:18px 22px;background:var(--paper);border:1px solid var(--rule);
 border-left:4px solid var(--accent);border-radius:8px}
.summary li{margin:0 0 4px;overflow-wrap:anywhere}
.summary li:first-child{font-size:19px;line-height:1.45;font-weight:600}
.summary li:last-child{margin-bottom:0}
nav{margin:26px 0 0;font-size:14px}
nav h2{font-size:13px;font-weight:600;color:var(--soft);margin:0 0 6px;padding:0;border:0}
nav ol{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px}
nav a,a{color:var(--accent);text-underline-offset:3px;text-decoration-thickness:1px}
nav a{display:inline-block;padding:3px 0;text-decoration:none;overflow-wrap:anywhere}
nav a:hover{text-decoration:underline}
main{min-width:0}
section{margin:44px 0 0;scroll-margin-top:16px}
.block{margin:0 0 22px}
figure{margin:0 0 22px;padding:18px 20px 14px;background:var(--paper);border:1px solid var(--rule);border-radius:8px}
figcaption{margin:0 0 12px;overflow-wrap:anywhere}
figcaption h3{color:var(--ink)}
.scroll+.note{margin:6px 0 0}
figure>.note{margin:10px 0 0}
svg.chart{display:block;max-width:100%;height:auto}
svg.narrow{display:none}
details{margin-top:10px;font-size:14px}
summary{cursor:pointer;color:var(--soft);width:max-content;padding:4px 0}
.scroll{overflow-x:auto;max-width:100%;border:1px solid var(--rule);border-radius:8px;background:var(--paper)}
.scroll:focus-visible,button:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);
 outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
caption{caption-side:top;text-align:left;padding:12px 14px 8px;font-weight:600;font-size:15px}
th,td{padding:7px 14px;text-align:left;vertical-align:top;border-top:1px solid var(--rule)}
thead th{border-top:0;border-bottom:1px solid var(--soft);font-weight:600;vertical-align:bottom;white-space:nowrap}
caption+thead th{border-top:1px solid var(--rule)}
tbody th{font-weight:500}
td,tbody th{white-space:pre-line;min-width:3em}
.long{min-width:min(30em,75vw);overflow-wrap:anywhere}
.num{text-align:right;white-space:nowrap}
tbody tr,thead{background:var(--paper)}
tbody tr:nth-child(even){background:var(--wash)}
tr>:first-child{position:sticky;left:0;background:inherit}
thead tr{background:inherit}
th button{all:unset;cursor:pointer;white-space:nowrap}
th button::after{content:"\\2195";opacity:.45;margin-left:6px;font-size:12px}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1;font-weight:700}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1;font-weight:700}
dl{display:grid;grid-template-columns:minmax(9em,max-content) minmax(0,1fr);gap:0;margin:0;background:var(--paper);
 border:1px solid var(--rule);border-radius:8px;font-size:15px;overflow:hidden}
dt,dd{margin:0;padding:6px 16px;border-top:1px solid var(--rule);overflow-wrap:anywhere}
dt{color:var(--soft)}
dt:first-of-type,dt:first-of-type+dd{border-top:0}
dd{white-space:pre-line;font-variant-numeric:tabular-nums}
pre{margin:0;padding:14px 16px;overflow-x:auto;font:13px/1.55 ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",
 monospace;tab-size:4}
.pictures{display:flex;flex-wrap:wrap;gap:16px 12px}
.pictures img{display:block;max-width:100%;height:auto;border-radius:4px;background:var(--wash)}
.pictures div{max-width:100%;font-size:13px;line-height:1.45;color:var(--soft);overflow-wrap:anywhere}
.pictures p{margin:6px 0 0}
.pictures .gone{border:1px dashed var(--soft);border-radius:4px;padding:18px 10px;text-align:center}
@media (min-width:1080px){
 .body{display:grid;grid-template-columns:minmax(0,1fr) 180px;gap:0 42px}
 nav{grid-column:2;grid-row:1;margin:44px 0 0;position:sticky;top:20px;align-self:start;max-height:calc(100vh - 40px);
  overflow-y:auto;padding-left:18px;border-left:1px solid var(--rule)}
 nav ol{display:block}
 nav a{display:block}
 main{grid-column:1;grid-row:1}
}
@media screen and (max-width:640px){
 .frame{padding:22px 14px 48px}
 h1{font-size:24px}
 h2{font-size:19px}
 section{margin-top:34px}
 .summary{padding:14px 16px}
 .summary li:first-child{font-size:17px}
 figure{padding:14px 10px 12px;margin-left:-4px;margin-right:-4px}
 svg.wide{display:none}
 svg.narrow{display:block;width:100%;max-width:440px}
 th,td{padding:7px 10px}
 dl{display:block}
 tr>:first-child{max-width:44vw;white-space:normal;overflow-wrap:break-word}
 .pictures .small{width:calc(50% - 6px)!important}
 dt{padding-bottom:0}
 dd{border-top:0;padding-top:0}
}
@media print{
 body{background:#fff;font-size:11pt}
 .frame{max-width:none;padding:0}
 nav,details:not([open]),th button::after{display:none}
 .body{display:block}
 figure,.pictures div,tr,dl{break-inside:avoid}
 h2,h3,caption{break-after:avoid}
 .scroll,pre{overflow:visible}
 pre{white-space:pre-wrap}
 table{font-size:9pt}
 section{margin-top:24px}
}
"""
