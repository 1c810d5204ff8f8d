/* The curves as SVG: accuracy, log-likelihood shift and perplexity, side by
 * side over the alignment's steps. */
#include "show.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 1120, HEIGHT = 388, LINE = 24 };   /* of the legend */

/* A panel's plotting area in pixels and what its edges mean. */
struct panel {
    FILE *out;
    double left, top, width, height;
    double steps, low, high;
};

typedef double value_of(const struct measure *m, const struct measure *was);

static double accuracy(const struct measure *m, const struct measure *was)
{
    (void)was;
    return 100 * m->accuracy;
}

static double chosen(const struct measure *m, const struct measure *was)
{
    return m->logp[0] - was->logp[0];
}

static double rejected(const struct measure *m, const struct measure *was)
{
    return m->logp[1] - was->logp[1];
}

static double perplexity(const struct measure *m, const struct measure *was)
{
    (void)was;
    return m->perplexity;
}

static double at_x(const struct panel *p, double step)
{
    return p->left + p->width * step / p->steps;
}

static double at_y(const struct panel *p, double value)
{
    return p->top + p->height * (p->high - value) / (p->high - p->low);
}

/* 1, 2 or 5 times a power of ten: at most about six ticks in a span. */
static double tick(double span)
{
    double ten = pow(10, floor(log10(span / 6)));
    double over = span / 6 / ten;
    return ten * (over <= 1 ? 1 : over <= 2 ? 2 : over <= 5 ? 5 : 10);
}

static void text(FILE *out, double x, double y, const char *style,
                 const char *anchor, const char *words)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">"
            "%s</text>\n", x, y, style, anchor, words);
}

static void rule(FILE *out, const char *style, double x1, double y1, double x2,
                 double y2)
{
    fprintf(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
            "y2=\"%.1f\"/>\n", style, x1, y1, x2, y2);
}

/* ---- Axes --------------------------------------------------------------- */

/* The lowest and highest of some curves' values, with room around them. */
static void fit(struct panel *p, const struct curve *c, int n, value_of *of)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < c[i].n; k++) {
            double y = of(&c[i].at[k], &c[i].at[0]);
            if (y < p->low) p->low = y;
            if (y > p->high) p->high = y;
        }
}

static void loosen(struct panel *p)
{
    double room = 0.08 * (p->high - p->low);
    if (room < 0.01) room = 0.01;
    p->low -= room;
    p->high += room;
}

static void axes(const struct panel *p, const char *title)
{
    char label[32];
    double bottom = p->top + p->height, right = p->left + p->width;
    double step = tick(p->high - p->low);
    int digits = step >= 1 ? 0 : (int)ceil(-log10(step) - 1e-9);
    text(p->out, p->left, p->top - 16, "title", "start", title);
    double first = ceil(p->low / step - 1e-9);
    double last = floor(p->high / step + 1e-9);
    for (double i = first; i <= last; i++) {
        double y = at_y(p, i * step);
        rule(p->out, "grid", p->left, y, right, y);
        snprintf(label, sizeof label, "%s%.*f", i < 0 ? "&#8722;" : "",
                 digits, fabs(i * step));
        text(p->out, p->left - 8, y + 4, "tick", "end", label);
    }
    step = fmax(1, tick(p->steps));
    for (double i = 0; i * step <= p->steps; i++) {
        double x = at_x(p, i * step);
        rule(p->out, "axis", x, bottom, x, bottom + 4);
        snprintf(label, sizeof label, "%.0f", i * step);
        text(p->out, x, bottom + 18, "tick", "middle", label);
    }
    rule(p->out, "axis", p->left, bottom, right, bottom);
    text(p->out, p->left + p->width / 2, bottom + 38, "label", "middle",
         "alignment step");
}

/* ---- Curves ------------------------------------------------------------- */

/* Four shapes, full and then hollow: each curve has its own, since dashes say
 * that it is a rejected one. */
static void mark(FILE *out, int shape, const char *color, double x, double y)
{
    char look[96];
    snprintf(look, sizeof look, shape < 4 ? "class=\"mark\" fill=\"%s\"" :
             "style=\"fill:#fff;stroke:%s;stroke-width:1.6\"", color);
    if (shape % 4 == 0)
        fprintf(out, "<path %s d=\"M%.1f %.1fl4 7h-8z\"/>\n", look, x, y - 4.5);
    else if (shape % 4 == 1)
        fprintf(out, "<circle %s cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>\n", look,
                x, y);
    else if (shape % 4 == 2)
        fprintf(out, "<rect %s x=\"%.1f\" y=\"%.1f\" width=\"6.4\" "
                "height=\"6.4\"/>\n", look, x - 3.2, y - 3.2);
    else
        fprintf(out, "<path %s d=\"M%.1f %.1fl4.4 4.4l-4.4 4.4l-4.4 -4.4z\"/>"
                "\n", look, x, y - 4.4);
}

static void draw(const struct panel *p, const struct curve *c, int shape,
                 value_of *of, const char *style)
{
    fprintf(p->out, "<polyline class=\"%s\" stroke=\"%s\" points=\"", style,
            c->color);
    for (int k = 0; k < c->n; k++)
        fprintf(p->out, "%.1f,%.1f ", at_x(p, c->steps[k]),
                at_y(p, of(&c->at[k], &c->at[0])));
    fprintf(p->out, "\"/>\n");
    for (int k = 0; k < c->n; k++)
        mark(p->out, shape, c->color, at_x(p, c->steps[k]),
             at_y(p, of(&c->at[k], &c->at[0])));
}

static void accuracy_panel(struct panel p, const struct curve *c, int n)
{
    p.low = 40;
    p.high = 100;
    fit(&p, c, n, accuracy);
    p.low = 10 * floor(p.low / 10);
    p.high = 102;
    axes(&p, "Accuracy on held-out pairs, %");
    rule(p.out, "note", p.left, at_y(&p, 50), p.left + p.width, at_y(&p, 50));
    text(p.out, p.left + p.width, at_y(&p, 50) - 6, "small", "end",
         "indifferent");
    for (int i = 0; i < n; i++) draw(&p, &c[i], i, accuracy, "curve");
}

/* The curves leave 0 on the left and the rejected ones fall: the key fits
 * into the lower left corner. */
static void shift_panel(struct panel p, const struct curve *c, int n)
{
    p.low = p.high = 0;
    fit(&p, c, n, chosen);
    fit(&p, c, n, rejected);
    loosen(&p);
    axes(&p, "Shift of log-likelihood, nats per byte");
    rule(p.out, "note", p.left, at_y(&p, 0), p.left + p.width, at_y(&p, 0));
    for (int i = 0; i < n; i++) draw(&p, &c[i], i, rejected, "curve dashed");
    for (int i = 0; i < n; i++) draw(&p, &c[i], i, chosen, "curve");
    double x = p.left + 12, y = p.top + p.height - 32;
    fprintf(p.out, "<rect class=\"under\" x=\"%.1f\" y=\"%.1f\" "
            "width=\"96\" height=\"40\"/>\n", x - 6, y - 16);
    rule(p.out, "key", x, y - 4, x + 30, y - 4);
    text(p.out, x + 38, y, "small", "start", "chosen");
    rule(p.out, "key dashed", x, y + 14, x + 30, y + 14);
    text(p.out, x + 38, y + 18, "small", "start", "rejected");
}

static void perplexity_panel(struct panel p, const struct curve *c, int n)
{
    double was = c[0].at[0].perplexity;
    p.low = p.high = was;
    fit(&p, c, n, perplexity);
    loosen(&p);
    p.low -= 0.06 * (p.high - p.low);          /* room for the note */
    axes(&p, "Perplexity of held-out neutral text, per byte");
    rule(p.out, "note", p.left, at_y(&p, was), p.left + p.width, at_y(&p, was));
    text(p.out, p.left + p.width, at_y(&p, was) + 15, "small", "end",
         "reference");
    for (int i = 0; i < n; i++) draw(&p, &c[i], i, perplexity, "curve");
}

static void key(FILE *out, const struct curve *c, int shape, double x, double y,
                const char *words)
{
    fprintf(out, "<line class=\"curve\" stroke=\"%s\" x1=\"%.1f\" y1=\"%.1f\" "
            "x2=\"%.1f\" y2=\"%.1f\"/>\n", c->color, x, y, x + 30, y);
    mark(out, shape, c->color, x + 15, y);
    text(out, x + 38, y + 4, "label", "start", words);
}

/* Returns its number of lines; with out NULL only that. */
static int legend(FILE *out, const struct curve *c, int n, double left,
                  double y)
{
    double x = left;
    int lines = 1;
    for (int i = 0; i < n; i++) {
        char words[64];
        int used = snprintf(words, sizeof words, "%s, lr %g", c[i].name,
                            c[i].lr);
        if (c[i].beta > 0)
            used += snprintf(words + used, sizeof words - (size_t)used,
                             ", beta %g", c[i].beta);
        double wide = 38 + 7.2 * used;
        if (x > left && x + wide > WIDTH) {
            x = left;
            y += LINE;
            lines++;
        }
        if (out) key(out, &c[i], i, x, y, words);
        x += wide + 28;
    }
    return lines;
}

int plot(const char *file, const struct curve *c, int n)
{
    FILE *out = fopen(file, "w");
    if (!out) {
        fprintf(stderr, "align: %s: %s\n", file, strerror(errno));
        return 0;
    }
    const double left = 52;
    int more = LINE * (legend(NULL, c, n, left, 0) - 1);
    fprintf(out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
        "width=\"%d\" height=\"%d\" role=\"img\">\n"
        "<title>Alignment of a small language model</title>\n<style>\n"
        "text{font-family:Helvetica,Arial,\"Liberation Sans\",sans-serif;"
        "fill:#222;font-size:13px}\n"
        ".title{font-weight:bold}.tick{font-size:12px;fill:#444}"
        ".small{font-size:12px;fill:#666;stroke:#fff;stroke-width:4px;"
        "paint-order:stroke}\n"
        ".grid{stroke:#e4e4e4}.axis{stroke:#444}"
        ".note{stroke:#888;stroke-dasharray:2 3}\n"
        ".curve{fill:none;stroke-width:2;stroke-linejoin:round}"
        ".key{stroke:#444;stroke-width:2}.dashed{stroke-dasharray:6 4}\n"
        ".mark{stroke:#fff;stroke-width:.8}.under{fill:#fff}\n</style>\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
        WIDTH, HEIGHT + more, WIDTH, HEIGHT + more, WIDTH, HEIGHT + more);
    double steps = c[0].steps[c[0].n - 1];
    struct panel p = {.out = out, .left = left, .top = 92 + more,
                      .width = 302, .height = 236, .steps = steps};
    legend(out, c, n, left, 28);
    accuracy_panel(p, c, n);
    p.left += 368;
    shift_panel(p, c, n);
    p.left += 368;
    perplexity_panel(p, c, n);
    fputs("</svg>\n", out);
    int bad = ferror(out);
    if (fclose(out) || bad) {
        fprintf(stderr, "align: %s: %s\n", file, strerror(errno));
        return 0;
    }
    return 1;
}
