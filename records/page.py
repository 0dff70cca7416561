"""The HTML page of reports, with its style: fonts, light and dark colours, widths."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {
  color-scheme: light dark;
  --ink: #1f2328; --muted: #656d76; --grid: #d3d8de; --page: #ffffff; --card: #f6f8fa;
  --blue: #0072b2; --red: #d55e00; --plus: 0 114 178; --minus: 213 94 0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ed; --muted: #9aa4af; --grid: #3a424c; --page: #111418; --card: #1a1f25;
    --blue: #56b4e9; --red: #f08a3c; --plus: 86 180 233; --minus: 240 138 60;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-top: .6rem; border-top: 1px solid var(--grid); }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
.lead { font-size: 1.15rem; margin: .3rem 0; max-width: 46rem; }
.note, figcaption { color: var(--muted); font-size: .88rem; max-width: 46rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .32rem .9rem .32rem 0; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; white-space: nowrap; }
td { overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.numbers td:last-child { color: var(--muted); padding-right: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 2rem 2.5rem; }
figure { margin: 0; }
.chart svg { display: block; width: 100%; height: auto; }
.chart text { font-family: inherit !important; }
article { background: var(--card); border-radius: 8px; padding: .9rem 1rem 1rem; margin: 0 0 1rem; }
.summary { margin: 0 0 .5rem; font-size: .9rem; }
.place { color: var(--muted); float: right; padding-left: 1rem; overflow-wrap: anywhere; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: .8rem 1.4rem; }
.side h4 { margin: .4rem 0 .1rem; font-size: .85rem; font-weight: 600; color: var(--muted); }
.side b { color: var(--ink); font-variant-numeric: tabular-nums; padding-left: .3rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 24rem; overflow-y: auto; }
.prompt { color: var(--muted); font-style: italic; }
.plus, .minus { color: var(--ink); border-radius: 3px; padding: 1px 0; }
.plus { background: rgb(var(--plus) / calc(var(--w) * .55)); }
.minus { background: rgb(var(--minus) / calc(var(--w) * .6)); text-decoration: underline dotted; }
@media (max-width: 34rem) {
  .numbers tr { display: grid; grid-template-columns: 1fr auto; border-bottom: 1px solid var(--grid); }
  .numbers th, .numbers td { border: 0; padding: .1rem 0; }
  .numbers td:last-child { grid-column: 1 / -1; font-size: .85rem; }
  .facts th { white-space: normal; }
}
@media print { article { break-inside: avoid; } figure { break-inside: avoid; } }
</style>
</head>
<body>
{body}
</body>
</html>
"""
