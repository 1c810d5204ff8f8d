/* The progress bar. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "show.h"

#include <stdio.h>
#include <time.h>

#if defined(_WIN32)
#include <io.h>
#define stderr_is_terminal() _isatty(2)
#else
#include <unistd.h>
#define stderr_is_terminal() isatty(2)
#endif

double seconds_now(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_start(struct progress *p, const char *phase, int width,
                    const char *what, int steps)
{
    *p = (struct progress){.phase = phase, .width = width, .what = what,
                           .steps = steps};
    p->start = seconds_now();
}

static void draw(struct progress *p, int step, double loss, double value)
{
    enum { WIDTH = 20 };
    char bar[WIDTH + 1];
    double spent = seconds_now() - p->start;
    double left = spent * (p->steps - step) / (step > 0 ? step : 1);
    int full = (int)((double)WIDTH * step / (p->steps > 0 ? p->steps : 1));
    for (int i = 0; i < WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = 0;
    fprintf(stderr, "%-*s [%s] %4d/%d  loss %7.4f  %s %6.2f  %4.0fk tok/s  "
            "%2d:%02d left", p->width, p->phase, bar, step, p->steps, loss,
            p->what, value, p->tokens / p->busy / 1e3, (int)left / 60,
            (int)left % 60);
}

void progress_step(struct progress *p, int step, double loss, double value,
                   double tokens, double seconds)
{
    double now = seconds_now();
    p->tokens += tokens;
    p->busy += seconds;
    if (stderr_is_terminal()) {
        if (now - p->shown < 0.1 && step < p->steps) return;
        p->shown = now;
        fputc('\r', stderr);
        draw(p, step, loss, value);
        fputs("\033[K", stderr);
        if (step == p->steps) fputc('\n', stderr);
        return;
    }
    if (step < (p->lines + 1) * (long)p->steps / 4) return;
    p->lines++;
    draw(p, step, loss, value);
    fputc('\n', stderr);
}
