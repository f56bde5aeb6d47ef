"""The style sheet of the page: system fonts, quiet colours, fit for paper."""

from __future__ import annotations

__all__ = ["STYLESHEET"]

STYLESHEET = """\
:root { --ink: #2b2f36; --soft: #626873; --line: #dfe2e7; --wash: #f6f7f9; --link: #00588f; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.2rem 1.6rem 4rem; max-width: 72rem; color: var(--ink); background: #fff;
  font: 16px/1.55 "Source Sans 3", "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1, h2, h3 { line-height: 1.2; font-weight: 650; letter-spacing: -0.01em; }
h1 { font-size: 2rem; margin: 0 0 .3rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .8rem; padding-top: 1rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { max-width: 46rem; margin: .6rem 0; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: 2px; }
.lead { font-size: 1.1rem; color: var(--soft); }
.id { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .92em; white-space: nowrap; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 1.5rem; margin: 1rem 0; padding: .8rem 1.1rem;
  background: var(--wash); border-radius: 6px; }
.facts dt { font-size: .78rem; color: var(--soft); text-transform: uppercase; letter-spacing: .04em; }
.facts dd { margin: 0; font-size: 1.02rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th { text-align: left; font-weight: 600; border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
th, td { padding: .32rem .9rem .32rem 0; }
td { border-bottom: 1px solid var(--line); }
.num { text-align: right; white-space: nowrap; }
th small { font-weight: 400; color: var(--soft); display: block; }
.soft { color: var(--soft); }
.set { font-weight: 650; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .88rem; color: var(--soft); max-width: 52rem; margin-top: .3rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--link); }
ul { max-width: 46rem; padding-left: 1.2rem; }
li { margin: .45rem 0; }
.candidate { break-before: auto; }
footer { margin-top: 3.5rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .88rem; }
@media print {
  body { font-size: 10.5pt; max-width: none; padding: 0; }
  a { color: inherit; text-decoration: none; }
  .candidate { break-before: page; }
  figure, tr { break-inside: avoid; }
  .facts { background: none; border: 1px solid var(--line); }
}"""
