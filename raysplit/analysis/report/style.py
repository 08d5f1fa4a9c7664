"""The style sheet of the report: quiet type, light and dark, narrow and wide, screen and paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5f656e; --paper: #ffffff; --line: #d9dce1; --soft: #f4f5f7;
  --accent: #0b5d94; --warn-ink: #6b3a00; --warn: #fff3df; --warn-line: #e69f00; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e6ea; --faint: #a2a8b2; --paper: #17191d; --line: #363b43;
  --soft: #20242a; --accent: #7cc4f0; --warn-ink: #ffdfae; --warn: #3a2b10; --warn-line: #b67f0c; } }
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; -webkit-text-size-adjust: 100%; }
body { max-width: 62rem; margin: 0 auto; padding: 2.2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .6rem; padding-top: .6rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.7rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.lead, .note, figcaption, caption { color: var(--faint); }
.note, figcaption, caption { font-size: .86rem; }
.banner { background: var(--warn); color: var(--warn-ink); border: 1px solid var(--warn-line); border-left-width: 6px;
  border-radius: 4px; padding: .7rem 1rem; margin: 1.1rem 0; }
.banner p { margin: 0; max-width: none; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .28rem .6rem .28rem 0; text-align: left; vertical-align: baseline; white-space: nowrap; }
th { font-weight: 600; }
tbody th { font-weight: 400; }
thead th { border-bottom: 1px solid var(--ink); vertical-align: bottom; }
tbody tr { border-bottom: 1px solid var(--line); }
.n { text-align: right; padding-left: .3rem; }
td.t { white-space: normal; min-width: 7rem; }
.unit { display: block; font-weight: 400; color: var(--faint); font-size: .8rem; }
table.paper { border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); }
table.paper tbody tr { border-bottom: 0; }
table.paper tbody tr.group { border-top: 1px solid var(--line); }
table.paper th.rule { text-align: center; padding-left: 1.5rem; white-space: normal; max-width: 13rem; }
table.paper .first { padding-left: 1.6rem; }
table.paper td.drop { font-weight: 600; }
sub { font-size: .75em; line-height: 0; }
figure { margin: 1rem 0 1.4rem; }
figure img { max-width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .18rem 1.2rem; margin: .5rem 0 1rem; font-size: .92rem; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .84rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--soft); padding: .8rem 1rem; border-radius: 4px; overflow-x: auto; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--accent); }
a { color: var(--accent); }
nav ol { margin: .3rem 0 0; padding-left: 1.8rem; columns: 17rem; }
nav li { overflow-wrap: anywhere; }
@media (max-width: 40rem) { table { font-size: .8rem; } th, td { padding-right: .4rem; }
  table.paper .first { padding-left: .7rem; } body { padding: 1.2rem .9rem 3rem; } h1 { font-size: 1.4rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
@media print { :root { color-scheme: light; } html { font-size: 10pt; } body { max-width: none; padding: 0; } h2, h3 { break-after: avoid; }
  figure, tr, .banner, table.paper { break-inside: avoid; } .wide { overflow: visible; } pre { white-space: pre-wrap; }
  details.printed::details-content { content-visibility: visible; block-size: auto; }
  thead { display: table-header-group; } nav { display: none; } }
"""
