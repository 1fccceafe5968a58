// The page's style and script.
#pragma once

#include <string_view>

namespace anact::page {

// Series colours: Okabe and Ito's, made darker or lighter until each stands out from its background.
inline constexpr std::string_view kStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1b1f24; --muted: #59636e; --rule: #d9dee4; --soft: #f5f7f9;
  --grid: #e8ebef; --link: #0b5cad; --warn: #fff6e0; --warn-edge: #b7791f; --bad: #fdecea; --bad-edge: #b3261e;
  --series-0: #0072b2; --series-1: #d1540a; --series-2: #00865f; --series-3: #a33e93;
  --series-4: #a87b00; --series-5: #3a9fd8; --series-6: #4f555c; --series-7: #86205a;
  --shade-0: #b9cfe6; --shade-1: #8fb2d8; --shade-2: #6494c6; --shade-3: #3f76ae; --shade-4: #20588f; --shade-5: #0a3a68;
  --heat-0: #053061; --heat-1: #1b5a9c; --heat-2: #3480ba; --heat-3: #5fa5cf; --heat-4: #98c8e0; --heat-5: #c9e1ee;
  --heat-6: #efefed; --heat-7: #fbdcc8; --heat-8: #f6b596; --heat-9: #e58368; --heat-10: #cb4f45; --heat-11: #a91b2c; --heat-12: #67001f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --text: #e6e9ed; --muted: #9aa4af; --rule: #333a42; --soft: #1c2127;
    --grid: #272d34; --link: #7db7f0; --warn: #2e2614; --warn-edge: #e0aa4c; --bad: #341b1a; --bad-edge: #f2877d;
    --series-0: #5aa9e6; --series-1: #ff8a4c; --series-2: #35c795; --series-3: #d78fce;
    --series-4: #e3b93c; --series-5: #a5dcff; --series-6: #c3c9d0; --series-7: #ef7ba9;
    --shade-0: #2c4663; --shade-1: #386391; --shade-2: #4a82bb; --shade-3: #68a1d8; --shade-4: #95c1ea; --shade-5: #cfe4fa;
    --heat-0: #b9dcff; --heat-1: #82b8ea; --heat-2: #5596d0; --heat-3: #3a77ad; --heat-4: #2c5c85; --heat-5: #27465f;
    --heat-6: #2b3138; --heat-7: #5c3a31; --heat-8: #85493a; --heat-9: #b05b45; --heat-10: #d97758; --heat-11: #f79d7f; --heat-12: #ffd0bd;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: var(--page); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%; overflow-wrap: break-word;
}
h1, h2, h3 { line-height: 1.25; letter-spacing: -0.01em; text-wrap: balance; }
h1 { font-size: 1.9rem; margin: 0 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 0.6rem; }
h3 { font-size: 0.95rem; margin: 0 0 0.25rem; font-weight: 600; letter-spacing: 0; }
h3.part { font-size: 1.08rem; margin: 2rem 0 0.5rem; letter-spacing: -0.01em; }
p { margin: 0 0 0.9rem; max-width: 46rem; }
.kicker { margin: 0 0 0.2rem; color: var(--muted); font-size: 0.85rem; letter-spacing: 0.04em; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.25rem; margin: 0; font-size: 0.95rem; }
p + .facts, .facts + p { margin-top: 1rem; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; min-width: 0; }
.banner { margin: 1.25rem 0 0; padding: 0.7rem 1rem; border-left: 4px solid var(--warn-edge); background: var(--warn); max-width: none; }
.banner.bad { border-color: var(--bad-edge); background: var(--bad); }
.banner p { margin: 0; max-width: none; }
.note { color: var(--muted); font-size: 0.875rem; margin: 0.5rem 0 0; }
.contents { margin: 1.25rem 0 0; padding-left: 1.4rem; }
.contents a { color: var(--link); }
.scroll { overflow-x: auto; border-top: 1px solid var(--rule); border-bottom: 1px solid var(--rule); }
.scroll:focus-visible, summary:focus-visible, .legend [role=button]:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: 0.925rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.45rem 0.9rem 0.45rem 0; text-align: right; white-space: nowrap; border-top: 1px solid var(--grid); }
th:last-child, td:last-child { padding-right: 0.3rem; }
thead th { border-top: 0; color: var(--muted); font-weight: 500; vertical-align: bottom; white-space: normal; }
tbody th { font-weight: 600; }
th.left, td.left, tbody th { text-align: left; }
td.reason { color: var(--muted); white-space: normal; min-width: 9rem; }
td.sure { font-weight: 650; }
td.bad { color: var(--bad-edge); font-weight: 650; }
td.left, th.left:not(:first-child) { padding-left: 0.6rem; }
.pm { color: var(--muted); font-weight: 400; }
.swatch { display: inline-block; width: 0.7em; height: 0.7em; border-radius: 50%; background: var(--c); margin-right: 0.5em; }
figure { margin: 1.1rem 0 0; }
figcaption { color: var(--muted); font-size: 0.95rem; margin-bottom: 0.5rem; max-width: 46rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.25rem 2rem; }
.panels.one { max-width: 50rem; }
.panel { container-type: inline-size; min-width: 0; }
.chart { display: block; width: 100%; height: auto; overflow: visible; }
.chart text { font-size: 12.5px; fill: var(--muted); font-variant-numeric: tabular-nums; }
.chart .title { fill: var(--text); }
.chart .middle { text-anchor: middle; }
.chart .end { text-anchor: end; }
@container (max-width: 25rem) { .chart text { font-size: 15.5px; } }
@container (min-width: 38rem) { .chart text { font-size: 8.6px; } .dot { r: 1.5px; } }
.grid, .tick, .axis { fill: none; stroke: var(--grid); vector-effect: non-scaling-stroke; }
.tick, .axis { stroke: var(--muted); }
.line, .cross { fill: none; stroke: var(--c); stroke-width: 1.9; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.cross { stroke-width: 2.4; }
.thin .line { stroke-width: 1.1; }
.dot { fill: var(--c); }
.marker { fill: var(--c); stroke: var(--page); stroke-width: 0.6; }
.hollow { fill: var(--page); stroke: var(--c); stroke-width: 1.5; }
.bar { fill: none; stroke: var(--c); opacity: 0.55; vector-effect: non-scaling-stroke; }
.band { fill: var(--c); opacity: 0.13; }
.intervals { max-width: 50rem; font-size: 0.875rem; }
.intervals th, .intervals td { padding: 0; border: 0; line-height: 1.5rem; }
.intervals tbody th { width: 1%; padding-right: 0.9rem; font-weight: 400; }
.intervals .group th { padding-top: 0.5rem; color: var(--muted); }
.intervals svg { display: block; width: 100%; height: 1.5rem; }
.intervals tfoot td { color: var(--muted); white-space: normal; }
.ticks { position: relative; height: 1.4rem; }
.ticks span { position: absolute; transform: translateX(-50%); }
.spot { fill: none; stroke: var(--c); stroke-width: 9; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.spot.inner { stroke: var(--page); stroke-width: 5; }
.cells, .scale rect { shape-rendering: crispEdges; }
.scale { display: block; width: 100%; max-width: 25rem; height: auto; margin-bottom: 0.7rem; }
.scale text { font-size: 12.5px; fill: var(--muted); }
.scale .middle { text-anchor: middle; }
.scale .end { text-anchor: end; }
.h0 { fill: var(--heat-0); } .h1 { fill: var(--heat-1); } .h2 { fill: var(--heat-2); } .h3 { fill: var(--heat-3); }
.h4 { fill: var(--heat-4); } .h5 { fill: var(--heat-5); } .h6 { fill: var(--heat-6); } .h7 { fill: var(--heat-7); }
.h8 { fill: var(--heat-8); } .h9 { fill: var(--heat-9); } .h10 { fill: var(--heat-10); } .h11 { fill: var(--heat-11); }
.h12 { fill: var(--heat-12); }
.legend { display: flex; flex-wrap: wrap; gap: 0.15rem 1.2rem; list-style: none; margin: 0 0 0.7rem; padding: 0; font-size: 0.875rem; }
.legend li { display: inline-flex; align-items: center; gap: 0.45rem; min-width: 0; }
.legend [role=button] { cursor: pointer; user-select: none; }
.key { width: 2rem; height: 0.625rem; flex: none; }
.off { opacity: 0.4; text-decoration: line-through; }
.chart .off { display: none; }
details { border-top: 1px solid var(--rule); }
details:last-of-type { border-bottom: 1px solid var(--rule); }
summary { padding: 0.7rem 0; font-weight: 600; cursor: pointer; }
figure + details, .more { margin-top: 1.5rem; }
details > .scroll { border: 0; margin-bottom: 1rem; }
pre { margin: 0 0 1rem; padding: 0.8rem 1rem; background: var(--soft); border-radius: 6px; overflow-x: auto; font: 0.85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details .facts { margin-bottom: 1rem; }
.series-0 { --c: var(--series-0); } .series-1 { --c: var(--series-1); } .series-2 { --c: var(--series-2); } .series-3 { --c: var(--series-3); }
.series-4 { --c: var(--series-4); } .series-5 { --c: var(--series-5); } .series-6 { --c: var(--series-6); } .series-7 { --c: var(--series-7); }
.shade-0 { --c: var(--shade-0); } .shade-1 { --c: var(--shade-1); } .shade-2 { --c: var(--shade-2); }
.shade-3 { --c: var(--shade-3); } .shade-4 { --c: var(--shade-4); } .shade-5 { --c: var(--shade-5); }
@media (max-width: 34rem) {
  body { padding: 1.25rem 1rem 3rem; }
  h1 { font-size: 1.5rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: 0.4rem; }
  .scroll tbody th { position: sticky; left: 0; background: var(--page); white-space: normal; min-width: 5.5rem; max-width: 8rem; }
}
@media print { .panel, figure, tr { break-inside: avoid; } }
)css";

// Legend entries show and hide their line in every chart; the page is complete without it.
inline constexpr std::string_view kScript = R"js(
for (const item of document.querySelectorAll('.legend [data-series]')) {
  item.setAttribute('role', 'button');
  item.setAttribute('aria-pressed', 'true');
  item.tabIndex = 0;
  item.title = 'Show or hide';
  const toggle = () => {
    const off = !item.classList.contains('off');
    for (const one of document.querySelectorAll('[data-series="' + item.dataset.series + '"]')) {
      one.classList.toggle('off', off);
      if (one.hasAttribute('aria-pressed')) one.setAttribute('aria-pressed', String(!off));
    }
  };
  item.addEventListener('click', toggle);
  item.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    toggle();
  });
}
)js";

}  // namespace anact::page
