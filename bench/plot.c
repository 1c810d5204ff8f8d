/* The picture, an SVG of dots on a log axis: see plot.h. */
#include "plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Sizes in pixels. */
enum { WIDTH = 900, LEFT = 104, RIGHT = 44, TOP = 118, BOTTOM = 62, ROW = 25,
       GAP = 16, BETWEEN = 48, MAX_PANELS = 4, LOSSES = 3 };

/* What is drawn: for each number of threads a panel, for each loss a group,
 * for each vocabulary a row. */
typedef struct picture {
    FILE *f;
    const result *r;
    int n;
    const bench_case *like;
    int threads[MAX_PANELS], panels;
    int64_t V[MAX_LIST];
    int vocabs;
    double max;                     /* where the axis ends */
} picture;

static const char style[] =
"<style>\n"
"text{font-family:Helvetica,Arial,\"Liberation Sans\",sans-serif;"
"font-size:13px;fill:#222}\n"
".title{font-size:17px;font-weight:bold}.small{font-size:12px;fill:#666}\n"
".value{font-size:12px;stroke:#fff;stroke-width:4px;paint-order:stroke}\n"
".ground{fill:#fff}.grid{stroke:#e4e4e4}.limit{stroke:#222;stroke-width:2}\n"
".way{stroke:#bbb;stroke-width:2}.book{fill:#fff;stroke:#888;"
"stroke-width:2}\n"
".sft{fill:#009e73}.bnf{fill:#0072b2}.dpo{fill:#d55e00}\n"
"@media(prefers-color-scheme:dark){\n"
"text{fill:#e6e6e6}.small{fill:#a0a0a0}.value{stroke:#16191d}\n"
".ground{fill:#16191d}.grid{stroke:#2e3339}.limit{stroke:#e6e6e6}\n"
".way{stroke:#555}.book{fill:#16191d;stroke:#aaa}\n"
".sft{fill:#2cc295}.bnf{fill:#4ba3e3}.dpo{fill:#ff8b47}}\n"
"</style>\n";

static int is_shown(const picture *p, const result *r)
{
    const bench_case *a = &r->c, *b = p->like;

    return r->right && a->stage == FUSED && a->cache == b->cache
           && a->pool == b->pool && a->pages == b->pages
           && strcmp(r->type, p->r->type) == 0
           && (is_textbook(a) || (a->place == b->place && a->isa == b->isa));
}

static const result *find(const picture *p, int loss, int threads, int64_t V)
{
    for (int i = 0; i < p->n; i++)
        if (is_shown(p, p->r + i) && p->r[i].c.loss == loss
            && p->r[i].c.threads == threads && p->r[i].V == V)
            return p->r + i;
    return NULL;
}

static double ratio_of(const result *r)
{
    return median(r->ratio, r->rounds);
}

/* The axes' extents, from the results that are shown. */
static void gather(picture *p)
{
    p->max = 10;
    for (int i = 0; i < p->n; i++) {
        const result *r = p->r + i;
        int k = 0;

        if (!is_shown(p, r))
            continue;
        while (k < p->panels && p->threads[k] != r->c.threads)
            k++;
        if (k == p->panels && k < MAX_PANELS)
            p->threads[p->panels++] = r->c.threads;
        for (k = 0; k < p->vocabs && p->V[k] != r->V; k++)
            ;
        if (k == p->vocabs && k < MAX_LIST)
            p->V[p->vocabs++] = r->V;
        p->max = fmax(p->max, 1.6 * ratio_of(r));
    }
}

static int panel_width(const picture *p)
{
    return (WIDTH - LEFT - RIGHT - (p->panels - 1) * BETWEEN) / p->panels;
}

/* Where a ratio is in a panel; the axis begins a little below the limit. */
static double x_of(const picture *p, int panel, double ratio)
{
    const double low = log(0.8), high = log(p->max);
    const double x = (log(fmax(ratio, 0.8)) - low) / (high - low);

    return LEFT + panel * (panel_width(p) + BETWEEN) + x * panel_width(p);
}

static int height(const picture *p)
{
    return TOP + LOSSES * (p->vocabs * ROW + GAP) + BOTTOM;
}

/* ---- Parts --------------------------------------------------------------- */

static void text(const picture *p, double x, double y, const char *class,
                 const char *anchor, const char *what)
{
    fprintf(p->f, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" "
            "text-anchor=\"%s\">%s</text>\n", x, y, class, anchor, what);
}

static void line(const picture *p, const char *class, double x1, double y1,
                 double x2, double y2)
{
    fprintf(p->f, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
            "y2=\"%.1f\"/>\n", class, x1, y1, x2, y2);
}

static void dot(const picture *p, const char *class, double x, double y,
                double radius)
{
    fprintf(p->f, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>"
            "\n", class, x, y, radius);
}

static void draw_head(const picture *p)
{
    char line_of[384];

    snprintf(line_of, sizeof line_of, "Loss and gradient: time over the limit "
             "of memory, %s, %s", p->r->type,
             p->like->place == IN_PLACE ? "in place" : "out of place");
    text(p, 24, 32, "title", "start", line_of);
    snprintf(line_of, sizeof line_of, "%s, %s, bnfloss %s%s%s%s; median of %d "
             "rounds, each beside its limit%s", machine_name(),
             strstr(p->like == &p->r->c ? p->r->name : "", "isa:")
                 ? strstr(p->r->name, "isa:") + 4 : "", bnfloss_version(),
             p->like->cache == HOT ? ", in the cache" : "",
             p->like->pool == POOL_PTHREADS ? ", the caller's threads" : "",
             p->like->pages == HUGE_PAGES ? ", huge pages" : "",
             p->r->rounds,
             p->r->limit == STRAIGHT_LOOP ? " (straight loops)" : "");
    text(p, 24, 53, "small", "start", line_of);
    dot(p, "bnf", 30, 74, 5.5);
    text(p, 42, 78, "small", "start", "this library");
    dot(p, "book", 136, 74, 5);
    text(p, 148, 78, "small", "start", "the textbook loop in C");
    line(p, "limit", 296, 66, 296, 82);
    text(p, 306, 78, "small", "start",
         "the limit: reading all logits, writing as many gradients");
}

static void draw_axis(const picture *p, int panel)
{
    static const int ticks[] = { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000 };
    const double bottom = height(p) - BOTTOM + 4;
    char label[64];

    snprintf(label, sizeof label, "%d thread%s", p->threads[panel],
             p->threads[panel] == 1 ? "" : "s");
    text(p, x_of(p, panel, 1), TOP - 12, "title\" style=\"font-size:14px",
         "start", label);
    for (size_t k = 0; k < sizeof ticks / sizeof *ticks; k++) {
        const double x = x_of(p, panel, ticks[k]);

        if (ticks[k] > p->max)
            break;
        line(p, k ? "grid" : "limit", x, TOP - 4, x, bottom);
        snprintf(label, sizeof label, "%d", ticks[k]);
        text(p, x, bottom + 18, "small", "middle", label);
    }
    text(p, (x_of(p, panel, 1) + x_of(p, panel, p->max)) / 2, bottom + 40,
         "small", "middle", "time over the limit, log scale");
}

static void draw_row(const picture *p, int panel, int loss, int64_t V,
                     double y)
{
    const result *ours = find(p, loss, p->threads[panel], V);
    const result *book = find(p, TEXTBOOK_SFT + loss, p->threads[panel], V);
    char value[32];

    if (ours && book && x_of(p, panel, ratio_of(book))
                        > x_of(p, panel, ratio_of(ours)) + 60)
        line(p, "way", x_of(p, panel, ratio_of(ours)) + 42, y,
             x_of(p, panel, ratio_of(book)), y);
    if (book) {
        dot(p, "book", x_of(p, panel, ratio_of(book)), y, 5);
        snprintf(value, sizeof value, "%.0f", ratio_of(book));
        text(p, x_of(p, panel, ratio_of(book)) + 10, y + 4, "value", "start",
             value);
    }
    if (ours) {
        dot(p, loss_names[loss], x_of(p, panel, ratio_of(ours)), y, 5.5);
        snprintf(value, sizeof value, "%.2f", ratio_of(ours));
        text(p, x_of(p, panel, ratio_of(ours)) + 10, y + 4, "value", "start",
             value);
    }
}

static void draw_rows(const picture *p)
{
    static const char *const title[LOSSES] = { "SFT", "BNF", "DPO" };
    char label[32];

    for (int loss = 0; loss < LOSSES; loss++)
        for (int v = 0; v < p->vocabs; v++) {
            const int top = TOP + loss * (p->vocabs * ROW + GAP) + v * ROW;
            const double y = top + (double)ROW / 2;

            if (v == 0)
                text(p, 24, y + 4, "title\" style=\"font-size:14px", "start",
                     title[loss]);
            snprintf(label, sizeof label, "%lld", (long long)p->V[v]);
            text(p, LEFT + 6, y + 4, "small", "end", label);
            for (int k = 0; k < p->panels; k++)
                draw_row(p, k, loss, p->V[v], y);
        }
}

int plot(const char *file, const result *r, int n)
{
    picture p = { .r = r, .n = n };

    while (p.n > 0 && !(p.r->right && p.r->c.stage == FUSED
                        && !is_textbook(&p.r->c)))
        p.r++, p.n--;
    if (p.n > 0) {
        p.like = &p.r->c;
        gather(&p);
    }
    p.f = fopen(file, "w");
    if (!p.f)
        return 0;
    fprintf(p.f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d "
            "%d\" width=\"%d\" height=\"%d\" role=\"img\">\n<title>Time over "
            "the limit of memory</title>\n%s<rect class=\"ground\" "
            "width=\"%d\" height=\"%d\"/>\n", WIDTH, height(&p), WIDTH,
            height(&p), style, WIDTH, height(&p));
    if (p.n > 0) {
        draw_head(&p);
        for (int k = 0; k < p.panels; k++)
            draw_axis(&p, k);
        draw_rows(&p);
    }
    fputs("</svg>\n", p.f);
    return fclose(p.f) == 0;
}
