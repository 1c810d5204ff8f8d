/* Medians and the like: see stats.h. */
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(const double *x, int n)
{
    double s[MAX_ROUNDS];

    memcpy(s, x, (size_t)n * sizeof *s);
    qsort(s, (size_t)n, sizeof *s, ascending);
    return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

double deviation(const double *x, int n)
{
    const double middle = median(x, n);
    double d[MAX_ROUNDS];

    for (int i = 0; i < n; i++)
        d[i] = fabs(x[i] - middle);
    return median(d, n);
}

double mean(const double *x, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += x[i];
    return sum / n;
}

double spread(const double *x, int n)
{
    const double m = mean(x, n);
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += (x[i] - m) * (x[i] - m);
    return n > 1 ? sqrt(sum / (n - 1)) : 0;
}
