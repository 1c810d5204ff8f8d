/* The transformer: forward, backward, AdamW. See model.h. */
#include "model.h"
#include "threads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One run of sequences: what its forward pass leaves for its backward pass.
 * N is the shard's own number of rows; P the floats of its attention, T * up
 * summed over sequences and heads, up being T rounded up to LANES. */
struct shard {
    int first, last;           /* its sequences first .. last - 1 */
    int64_t row;               /* its first row in the batch */
    int N;
    size_t P;
    float *g;                  /* (count - tables) its share of the gradient */
    struct tensors G;
    int longest;               /* T of its longest sequence */
    float *arena;              /* all that follows */
    size_t room;
    struct {
        float *x;              /* (N,C) what enters the layer */
        float *n1, *inv1;      /* (N,C), (N) normed for attention */
        float *qkv;            /* (N,3C) */
        float *p;              /* (P) attention, by sequence and head */
        float *o;              /* (N,C) what the heads say */
        float *y;              /* (N,C) x after attention */
        float *n2, *inv2;      /* (N,C), (N) normed for the wide part */
        float *h, *a;          /* (N,4C) before and after relu^2 */
    } layer[MAX_LAYERS];
    float *x, *n, *inv;        /* (N,C), (N,C), (N) at the end */
    float *dn;                 /* (N,C) */
    float *wide;               /* (N,4C) */
    float *ds;                 /* (T,up) gradient of one head's attention */
    float *flip;               /* (HEAD,up) keys or values transposed */
    float *bias;               /* (H,up) */
};

#define SCALE 0.17677670f      /* of attention: 1 / sqrt(HEAD) */

/* AdamW and the sum of the shards go in chunks of CHUNK weights: work for
 * the threads, and sums whose order is fixed. */
enum { CHUNK = 4096, MOST_CHUNKS = 1024 };

static int chunks(size_t n)
{
    return (int)((n + CHUNK - 1) / CHUNK);
}

static size_t chunk(size_t n, int c)
{
    size_t left = n - (size_t)c * CHUNK;
    return left < CHUNK ? left : CHUNK;
}

/* ---- Random numbers ----------------------------------------------------- */

uint64_t random_bits(uint64_t *state)                  /* splitmix64 */
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

double random_unit(uint64_t *state)
{
    return (double)(random_bits(state) >> 11) * 0x1p-53;
}

/* A sum of uniforms with the mean and variance of a normal is enough. */
static void fill(float *w, size_t n, double deviation, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        double sum = -6;
        for (int j = 0; j < 12; j++) sum += random_unit(seed);
        w[i] = (float)(deviation * sum);
    }
}

/* ---- Where things lie --------------------------------------------------- */

/* The next `count` floats of an array; with base NULL only counts them. */
static float *take(float *base, size_t *used, size_t count)
{
    size_t at = *used;
    *used += count;
    return base ? base + at : NULL;
}

/* Cuts the weights behind the tables into tensors; returns their number. */
static size_t cut(struct tensors *t, float *base, int L, int C, int V)
{
    size_t c = (size_t)C, v = (size_t)V, used = 0;
    for (int l = 0; l < L; l++) {
        t->layer[l].gain1 = take(base, &used, c);
        t->layer[l].qkv   = take(base, &used, c * 3 * c);
        t->layer[l].out   = take(base, &used, c * c);
        t->layer[l].gain2 = take(base, &used, c);
        t->layer[l].up    = take(base, &used, c * 4 * c);
        t->layer[l].down  = take(base, &used, 4 * c * c);
    }
    t->gain = take(base, &used, c);
    t->head = take(base, &used, c * v);
    return used;
}

static void *memory(size_t bytes)
{
    void *at = calloc(1, bytes ? bytes : 1);
    if (!at) {
        fprintf(stderr, "align: out of memory (%zu bytes)\n", bytes);
        exit(1);
    }
    return at;
}

static int round_up(int n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* Hands out the shard's arena and returns its size; with base NULL only that.
 */
static size_t lay_out(struct shard *s, const struct model *m, float *base)
{
    size_t N = (size_t)s->N, C = (size_t)m->C;
    size_t up = (size_t)round_up(s->longest), used = 0;
    for (int l = 0; l < m->L; l++) {
        s->layer[l].x    = take(base, &used, N * C);
        s->layer[l].n1   = take(base, &used, N * C);
        s->layer[l].inv1 = take(base, &used, N);
        s->layer[l].qkv  = take(base, &used, N * 3 * C);
        s->layer[l].p    = take(base, &used, s->P);
        s->layer[l].o    = take(base, &used, N * C);
        s->layer[l].y    = take(base, &used, N * C);
        s->layer[l].n2   = take(base, &used, N * C);
        s->layer[l].inv2 = take(base, &used, N);
        s->layer[l].h    = take(base, &used, N * 4 * C);
        s->layer[l].a    = take(base, &used, N * 4 * C);
    }
    s->x    = take(base, &used, N * C);
    s->n    = take(base, &used, N * C);
    s->inv  = take(base, &used, N);
    s->dn   = take(base, &used, N * C);
    s->wide = take(base, &used, N * 4 * C);
    s->ds   = take(base, &used, up * up);
    s->flip = take(base, &used, HEAD * up);
    s->bias = take(base, &used, C / HEAD * up);
    return used;
}

static int length(const struct batch *b, int s)
{
    return (int)(b->start[s + 1] - b->start[s]);
}

/* Gives shard number i its sequences and enough memory for them. */
static void prepare(struct model *m, int i, const struct batch *b)
{
    struct shard *s = &m->shard[i];
    int H = m->C / HEAD;
    s->first = b->S * i / SHARDS;
    s->last = b->S * (i + 1) / SHARDS;
    s->row = b->start[s->first];
    s->N = (int)(b->start[s->last] - s->row);
    s->P = 0;
    s->longest = 1;
    for (int q = s->first; q < s->last; q++) {
        int T = length(b, q);
        if (T > s->longest) s->longest = T;
        s->P += (size_t)T * (size_t)round_up(T) * (size_t)H;
    }
    size_t need = lay_out(s, m, NULL);
    if (need > s->room) {
        free(s->arena);
        s->room = need + need / 4;
        s->arena = memory(s->room * sizeof(float));
    }
    lay_out(s, m, s->arena);

    int up = round_up(s->longest);
    for (int h = 0; h < H; h++)          /* heads look near, and ever farther */
        for (int t = 0; t < up; t++)
            s->bias[h * up + t] = (float)t * ldexpf(1, -1 - 4 * h);
}

/* ---- Making a model ----------------------------------------------------- */

/* to (cols,rows) = from (rows,cols) transposed; strides in floats. */
static void turn(float *to, int to_stride, const float *from, int from_stride,
                 int rows, int cols)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            to[(size_t)j * (size_t)to_stride + (size_t)i] =
                from[(size_t)i * (size_t)from_stride + (size_t)j];
}

/* The backward pass multiplies by transposed weights; they are made here. */
static void turn_all(struct model *m)
{
    struct tensors *w = &m->W, *t = &m->turned;
    int C = m->C, V = m->V;
    for (int l = 0; l < m->L; l++) {
        turn(t->layer[l].qkv,  C,     w->layer[l].qkv,  3 * C, C, 3 * C);
        turn(t->layer[l].out,  C,     w->layer[l].out,  C,     C, C);
        turn(t->layer[l].up,   C,     w->layer[l].up,   4 * C, C, 4 * C);
        turn(t->layer[l].down, 4 * C, w->layer[l].down, C, 4 * C, C);
    }
    turn(t->head, C, w->head, V, C, V);
}

void model_load(struct model *m, const float *weights)
{
    size_t bytes = m->count * sizeof(float);
    if (weights) memcpy(m->w, weights, bytes);
    memset(m->m, 0, bytes);
    memset(m->v, 0, bytes);
    m->steps = 0;
    turn_all(m);
}

/* Layers add to x with shrunk matrices, so that their sum starts small. */
static void draw(struct model *m, uint64_t seed)
{
    size_t C = (size_t)m->C, V = (size_t)m->V;
    double d = 1 / sqrt((double)m->C), shrink = 1 / sqrt(2.0 * m->L);
    fill(m->w, m->tables, 0.5, &seed);
    for (int l = 0; l < m->L; l++) {
        for (size_t c = 0; c < C; c++)
            m->W.layer[l].gain1[c] = m->W.layer[l].gain2[c] = 1;
        fill(m->W.layer[l].qkv,  C * 3 * C, d, &seed);
        fill(m->W.layer[l].out,  C * C,     d * shrink, &seed);
        fill(m->W.layer[l].up,   C * 4 * C, d, &seed);
        fill(m->W.layer[l].down, 4 * C * C, d * shrink / 2, &seed);
    }
    for (size_t c = 0; c < C; c++) m->W.gain[c] = 1;
    fill(m->W.head, C * V, d / 4, &seed);
}

struct model *model_new(int L, int C, int V, int threads, uint64_t seed)
{
    struct model *m = memory(sizeof *m);
    struct tensors *t = &m->W;
    *m = (struct model){.L = L, .C = C, .V = V, .threads = threads};
    m->k = kernels_pick(0);
    m->tables = (size_t)TABLES * (size_t)V * (size_t)C;
    size_t rest = cut(t, NULL, L, C, V);
    m->count = m->tables + rest;
    float **array[] = {&m->w, &m->g, &m->m, &m->v};
    for (int i = 0; i < 4; i++) *array[i] = memory(m->count * sizeof(float));
    cut(&m->W, m->w + m->tables, L, C, V);
    cut(&m->turned, memory(rest * sizeof(float)), L, C, V);
    m->shard = memory(SHARDS * sizeof *m->shard);
    for (int i = 0; i < SHARDS; i++) {
        m->shard[i].g = memory(rest * sizeof(float));
        cut(&m->shard[i].G, m->shard[i].g, L, C, V);
    }
    draw(m, seed);
    model_load(m, NULL);
    return m;
}

void model_free(struct model *m)
{
    if (!m) return;
    for (int i = 0; i < SHARDS; i++) {
        free(m->shard[i].g);
        free(m->shard[i].arena);
    }
    free(m->shard);
    free(m->turned.layer[0].gain1);     /* the start of its array */
    free(m->w);
    free(m->g);
    free(m->m);
    free(m->v);
    free(m->logits);
    free(m->dx);
    free(m);
}

/* ---- Forward ------------------------------------------------------------ */

/* x (N,C) = for each row, the entries of its byte and of those before it. */
static void embed(const struct model *m, const struct shard *s,
                  const struct batch *b)
{
    size_t C = (size_t)m->C, V = (size_t)m->V;
    for (int q = s->first; q < s->last; q++)
        for (int64_t n = b->start[q]; n < b->start[q + 1]; n++) {
            float *x = s->layer[0].x + (size_t)(n - s->row) * C;
            memset(x, 0, C * sizeof(float));
            for (int t = 0; t < TABLES; t++) {
                size_t byte = n - t < b->start[q] ? 0 : b->token[n - t];
                m->k->add(x, m->w + ((size_t)t * V + byte) * C, m->C);
            }
        }
}

/* One head on one sequence. qkv (T,3C) and o (T,C) point at the head's own
 * columns, p (T,up) is filled. Rows go in blocks of LANES, and a block only
 * looks at the columns up to its own end. */
static void attend(const struct model *m, const struct shard *s,
                   const float *qkv, float *o, float *p, int h, int T)
{
    int C = m->C, up = round_up(T), wide = round_up(s->longest);
    const float *key = qkv + C, *value = qkv + 2 * C;
    memset(s->flip, 0, (size_t)(HEAD * up) * sizeof(float));
    turn(s->flip, up, key, 3 * C, T, HEAD);
    for (int i = 0; i < T; i += LANES) {
        int M = T - i < LANES ? T - i : LANES, seen = i + M;
        float *block = p + (size_t)i * (size_t)up;
        m->k->matmul(block, up, qkv + i * 3 * C, 3 * C, 1, s->flip, up,
                     M, i + LANES, HEAD, 0);
        for (int j = 0; j < M; j++)
            m->k->softmax(block + j * up, s->bias + h * wide, SCALE,
                          i + j + 1, i + LANES);
        m->k->matmul(o + i * C, C, block, up, 1, value, 3 * C,
                     M, HEAD, seen, 0);
    }
}

/* All sequences and heads of a layer. */
static void forward_attention(const struct model *m, const struct shard *s,
                              const struct batch *b, int l)
{
    size_t C = (size_t)m->C, used = 0;
    for (int q = s->first; q < s->last; q++) {
        int T = length(b, q);
        size_t row = (size_t)(b->start[q] - s->row);
        for (int h = 0; h < m->C / HEAD; h++) {
            attend(m, s, s->layer[l].qkv + row * 3 * C + (size_t)(h * HEAD),
                   s->layer[l].o + row * C + (size_t)(h * HEAD),
                   s->layer[l].p + used, h, T);
            used += (size_t)T * (size_t)round_up(T);
        }
    }
}

static void norm_rows(const struct model *m, int N, float *y, float *inv,
                      const float *x, const float *gain)
{
    for (int n = 0; n < N; n++)
        inv[n] = m->k->norm(y + n * m->C, x + n * m->C, gain, m->C);
}

/* y (N,O) = or += x (N,I) w (I,O) */
static void linear(const struct model *m, float *y, const float *x,
                   const float *w, int N, int I, int O, int add)
{
    m->k->matmul(y, O, x, I, 1, w, O, N, O, I, add);
}

/* What a pass is about: the data of its parallel loops. */
struct pass {
    struct model *m;
    const struct batch *b;
};

static void forward_shard(void *data, int i)
{
    const struct pass *pass = data;
    struct model *m = pass->m;
    struct shard *s = &m->shard[i];
    prepare(m, i, pass->b);
    int N = s->N, C = m->C;
    size_t bytes = (size_t)N * (size_t)C * sizeof(float);
    const struct tensors *w = &m->W;
    embed(m, s, pass->b);
    for (int l = 0; l < m->L; l++) {
        float *x = s->layer[l].x, *y = s->layer[l].y;
        float *next = l + 1 < m->L ? s->layer[l + 1].x : s->x;
        norm_rows(m, N, s->layer[l].n1, s->layer[l].inv1, x,
                  w->layer[l].gain1);
        linear(m, s->layer[l].qkv, s->layer[l].n1, w->layer[l].qkv,
               N, C, 3 * C, 0);
        forward_attention(m, s, pass->b, l);
        memcpy(y, x, bytes);
        linear(m, y, s->layer[l].o, w->layer[l].out, N, C, C, 1);
        norm_rows(m, N, s->layer[l].n2, s->layer[l].inv2, y,
                  w->layer[l].gain2);
        linear(m, s->layer[l].h, s->layer[l].n2, w->layer[l].up,
               N, C, 4 * C, 0);
        m->k->relu2(s->layer[l].a, s->layer[l].h, N * 4 * C);
        memcpy(next, y, bytes);
        linear(m, next, s->layer[l].a, w->layer[l].down, N, 4 * C, C, 1);
    }
    norm_rows(m, N, s->n, s->inv, s->x, w->gain);
    linear(m, m->logits + (size_t)s->row * (size_t)m->V, s->n, w->head,
           N, C, m->V, 0);
}

static void make_room(struct model *m, size_t N)
{
    if (N <= m->rows) return;
    free(m->logits);
    free(m->dx);
    m->rows = N + N / 4;
    m->logits = memory(m->rows * (size_t)m->V * sizeof(float));
    m->dx = memory(m->rows * (size_t)m->C * sizeof(float));
}

void model_forward(struct model *m, const struct batch *b)
{
    make_room(m, (size_t)b->start[b->S]);
    struct pass pass = {m, b};
    parallel_for(m->threads, SHARDS, forward_shard, &pass);
}

/* ---- Backward ----------------------------------------------------------- */

/* attend(), backwards: from go (T,C), the gradient of o, to that of this
 * head's queries, keys and values in dqkv (T,3C). Row j of dkey and dvalue
 * hears only from the rows at or below j. */
static void attend_back(const struct model *m, const struct shard *s,
                        const float *qkv, const float *go, const float *p,
                        float *dqkv, int T)
{
    int C = m->C, up = round_up(T);
    const float *key = qkv + C, *value = qkv + 2 * C;
    memset(s->flip, 0, (size_t)(HEAD * up) * sizeof(float));
    turn(s->flip, up, value, 3 * C, T, HEAD);
    for (int i = 0; i < T; i += LANES) {
        int M = T - i < LANES ? T - i : LANES, seen = i + M;
        float *ds = s->ds + (size_t)i * (size_t)up;
        m->k->matmul(ds, up, go + i * C, C, 1, s->flip, up,
                     M, i + LANES, HEAD, 0);
        for (int j = 0; j < M; j++)
            m->k->softmax_back(ds + j * up, p + (i + j) * up, SCALE,
                               i + LANES);
        m->k->matmul(dqkv + i * 3 * C, 3 * C, ds, up, 1, key, 3 * C,
                     M, HEAD, seen, 0);
    }
    for (int j = 0; j < T; j += LANES) {
        int M = T - j < LANES ? T - j : LANES, at = j * up + j;
        float *dkey = dqkv + j * 3 * C + C, *dvalue = dkey + C;
        m->k->matmul(dkey, 3 * C, s->ds + at, 1, up, qkv + j * 3 * C, 3 * C,
                     M, HEAD, T - j, 0);
        m->k->matmul(dvalue, 3 * C, p + at, 1, up, go + j * C, C,
                     M, HEAD, T - j, 0);
    }
}

static void backward_attention(const struct model *m, const struct shard *s,
                               const struct batch *b, int l)
{
    size_t C = (size_t)m->C, used = 0;
    for (int q = s->first; q < s->last; q++) {
        int T = length(b, q);
        size_t row = (size_t)(b->start[q] - s->row);
        for (int h = 0; h < m->C / HEAD; h++) {
            size_t column = (size_t)(h * HEAD);
            attend_back(m, s, s->layer[l].qkv + row * 3 * C + column,
                        s->dn + row * C + column, s->layer[l].p + used,
                        s->wide + row * 3 * C + column, T);
            used += (size_t)T * (size_t)round_up(T);
        }
    }
}

/* linear(), backwards: dw (I,O) = x^T dy, and dx (N,I) = or += dy w^T. */
static void linear_back(const struct model *m, float *dx, float *dw,
                        const float *dy, const float *x, const float *turned,
                        int N, int I, int O)
{
    m->k->matmul(dw, O, x, 1, I, dy, O, I, O, N, 0);
    m->k->matmul(dx, I, dy, O, 1, turned, I, N, I, O, 0);
}

static void norm_rows_back(const struct model *m, int N, float *dx,
                           float *dgain, const float *dy, const float *x,
                           const float *gain, const float *inv)
{
    int C = m->C;
    memset(dgain, 0, (size_t)C * sizeof(float));
    for (int n = 0; n < N; n++)
        m->k->norm_back(dx + n * C, dgain, dy + n * C, x + n * C, gain,
                        inv[n], C);
}

/* dx (N,C) is the gradient of the stream that every layer adds to; it stays
 * in model->dx and changes on the way down. */
static void backward_shard(void *data, int i)
{
    const struct pass *pass = data;
    const struct model *m = pass->m;
    struct shard *s = &m->shard[i];
    int N = s->N, C = m->C;
    const struct tensors *w = &m->W, *t = &m->turned;
    struct tensors *g = &s->G;
    float *dx = m->dx + (size_t)s->row * (size_t)C;
    memset(dx, 0, (size_t)N * (size_t)C * sizeof(float));
    linear_back(m, s->dn, g->head, m->logits + (size_t)s->row * (size_t)m->V,
                s->n, t->head, N, C, m->V);
    norm_rows_back(m, N, dx, g->gain, s->dn, s->x, w->gain, s->inv);
    for (int l = m->L - 1; l >= 0; l--) {
        linear_back(m, s->wide, g->layer[l].down, dx, s->layer[l].a,
                    t->layer[l].down, N, 4 * C, C);
        m->k->relu2_back(s->wide, s->layer[l].h, N * 4 * C);
        linear_back(m, s->dn, g->layer[l].up, s->wide, s->layer[l].n2,
                    t->layer[l].up, N, C, 4 * C);
        norm_rows_back(m, N, dx, g->layer[l].gain2, s->dn, s->layer[l].y,
                       w->layer[l].gain2, s->layer[l].inv2);
        linear_back(m, s->dn, g->layer[l].out, dx, s->layer[l].o,
                    t->layer[l].out, N, C, C);
        backward_attention(m, s, pass->b, l);  /* dn (N,C), wide (N,3C) */
        linear_back(m, s->dn, g->layer[l].qkv, s->wide, s->layer[l].n1,
                    t->layer[l].qkv, N, C, 3 * C);
        norm_rows_back(m, N, dx, g->layer[l].gain1, s->dn, s->layer[l].x,
                       w->layer[l].gain1, s->layer[l].inv1);
    }
}

/* One table's gradient: row n's dx goes to the byte t places before it. */
static void table_back(void *data, int t)
{
    const struct pass *pass = data;
    const struct model *m = pass->m;
    const struct batch *b = pass->b;
    size_t C = (size_t)m->C, V = (size_t)m->V;
    float *g = m->g + (size_t)t * V * C;
    memset(g, 0, V * C * sizeof(float));
    for (int q = 0; q < b->S; q++)
        for (int64_t n = b->start[q]; n < b->start[q + 1]; n++) {
            size_t byte = n - t < b->start[q] ? 0 : b->token[n - t];
            m->k->add(g + byte * C, m->dx + (size_t)n * C, m->C);
        }
}

static void add_shards(void *data, int c)
{
    struct model *m = ((const struct pass *)data)->m;
    size_t at = (size_t)c * CHUNK, n = chunk(m->count - m->tables, c);
    float *g = m->g + m->tables + at;
    memcpy(g, m->shard[0].g + at, n * sizeof(float));
    for (int i = 1; i < SHARDS; i++)
        m->k->add(g, m->shard[i].g + at, (int)n);
}

void model_backward(struct model *m, const struct batch *b)
{
    struct pass pass = {m, b};
    parallel_for(m->threads, SHARDS, backward_shard, &pass);
    parallel_for(m->threads, TABLES, table_back, &pass);
    parallel_for(m->threads, chunks(m->count - m->tables), add_shards, &pass);
}

/* ---- AdamW -------------------------------------------------------------- */

struct update {
    struct model *m;
    double part[MOST_CHUNKS];  /* each chunk's sum of squares */
    float scale, lr1, fix2, keep;
};

static const float b1 = 0.9f, b2 = 0.98f, decay = 0.3f;

static void square_chunk(void *data, int c)
{
    struct update *u = data;
    u->part[c] = u->m->k->squares(u->m->g + (size_t)c * CHUNK,
                                  (int)chunk(u->m->count, c));
}

static void update_chunk(void *data, int c)
{
    struct update *u = data;
    struct model *m = u->m;
    size_t at = (size_t)c * CHUNK;
    m->k->adamw(m->w + at, m->m + at, m->v + at, m->g + at,
                (int)chunk(m->count, c), u->scale, u->lr1, u->fix2, b1, b2,
                u->keep);
}

double model_step(struct model *m, double lr)
{
    struct update u = {.m = m};
    int n = chunks(m->count);
    parallel_for(m->threads, n, square_chunk, &u);
    double sum = 0;
    for (int c = 0; c < n; c++) sum += u.part[c];
    double norm = sqrt(sum);
    if (!isfinite(norm)) return norm;

    m->steps++;
    u.scale = norm > 1 ? (float)(1 / norm) : 1;
    u.lr1 = (float)(lr / (1 - pow((double)b1, (double)m->steps)));
    u.fix2 = (float)(1 / (1 - pow((double)b2, (double)m->steps)));
    u.keep = (float)(1 - lr * (double)decay);
    parallel_for(m->threads, n, update_chunk, &u);
    turn_all(m);
    return norm;
}
