/* The state of a row: it starts empty, takes in chunks in a fixed order, and
 * yields the outputs of the row. */

/* Starts the state of a row of which no column has been read. */
static void bn_row_init(bnfloss_row *row, const bnfloss_layout *lay,
                        int64_t label)
{
    memset(row, 0, sizeof *row);
    row->label_id = label;
    row->leader_id = -1;
    row->leader = -BN_INF;
    row->label_smoothing = lay->label_smoothing;
    row->z_loss = lay->z_loss;
    if (label < 0)
        row->flags = BNFLOSS_ROW_IGNORED;
}

/* Merges the columns of b into a.
 *
 * A state's sums run over its columns but for the label and the leader, and
 * they are relative to the leader M:
 *
 *     sum   = sum e^(z'-M)            dot    = sum e^(z'-M) (z'-M)
 *     shift = sum (z'-M)              square = sum e^(2(z'-M))
 *
 * The side with the larger leader keeps its sums. Those of the other side,
 * `low`, move by d = M_low - M to its reference, each e^(z'-M) by f = e^d. Its
 * leader becomes an ordinary term: that is the 1 in each line. */
static void bn_row_merge(bnfloss_row *a, const bnfloss_row *b)
{
    const bnfloss_row low = a->leader < b->leader ? *a : *b;

    if (a->leader < b->leader) {
        a->leader = b->leader;
        a->leader_id = b->leader_id;
        a->sum = b->sum;
        a->dot = b->dot;
        a->shift = b->shift;
        a->finite = b->finite;
        a->square = b->square;
    }
    if (low.leader > -BN_INF) {
        const double d = low.leader - a->leader, f = bn_exp(d);

        a->sum += f * (1 + low.sum);
        if (f > 0 && a->flags & BNFLOSS_ROW_ENTROPY)
            a->dot += f * (low.dot + d * (1 + low.sum));
        if (a->flags & BNFLOSS_ROW_SQUARES)
            a->square += f * f * (1 + low.square);
        if (a->flags & BNFLOSS_ROW_MEAN) {
            a->shift += low.shift + d * (1 + low.finite);
            a->finite += 1 + low.finite;
        }
    }
    if (b->flags & BNFLOSS_ROW_LABEL)
        a->label = b->label;
    a->flags |= b->flags;
}

/* Makes all of a NaN row NaN, so that it has the same bits everywhere. */
static void bn_row_canonicalize(bnfloss_row *row)
{
    if (row->flags & BNFLOSS_ROW_NAN) {
        row->leader = row->sum = row->dot = row->label = BN_NAN;
        row->shift = row->finite = row->square = BN_NAN;
        row->leader_id = -1;
    }
}

/* Chunks are added in order and merged in the tree of a binary counter: node k
 * of level j is the merge of nodes 2k and 2k + 1 of level j - 1, whoever
 * computes it. Threads and slices of the vocabulary share the chunks and so
 * the bits. Trees of 16 chunks, half a million logits, are merged one by one.
 *
 *     level 2           0
 *     level 1       0       1
 *     chunks      0   1   2   3 */
enum { BN_TREE = 16 };

typedef struct bn_tree {
    bnfloss_row node[6];        /* all trees before, then a node a level */
    int depth;
} bn_tree;

/* Merges the last two nodes. */
static void bn_tree_join(bn_tree *tree)
{
    tree->depth--;
    bn_row_merge(tree->node + tree->depth - 1, tree->node + tree->depth);
}

/* Adds chunk i of a row. Chunks come in order. A chunk that completes a node
 * merges it: chunk 3 first merges with 2, then (2,3) with (0,1). */
static void bn_tree_add(bn_tree *tree, const bnfloss_row *chunk, int64_t i)
{
    tree->node[tree->depth++] = *chunk;
    for (int64_t j = i % BN_TREE; j & 1; j >>= 1)
        bn_tree_join(tree);
    if (i % BN_TREE == BN_TREE - 1 && tree->depth > 1)
        bn_tree_join(tree);
}

/* Merges what is left and stores the row's state. */
static void bn_tree_finish(bn_tree *tree, bnfloss_row *row)
{
    while (tree->depth > 1)
        bn_tree_join(tree);
    *row = tree->node[0];
    bn_row_canonicalize(row);
}

/* Writes logp, rest, entropy, log_square and argmax of row i. */
static void bn_row_out(const bnfloss_row *row, int64_t i,
                       const bnfloss_outputs *out)
{
    bn_token token = { 0, 0, 0, 0 };
    double entropy = 0;
    int64_t id = -1;

    if (!out->logp && !out->rest && !out->entropy && !out->log_square
        && !out->argmax)
        return;
    if (!(row->flags & BNFLOSS_ROW_IGNORED)) {
        token = bn_token_of_row(row);
        entropy = bn_token_entropy(&token);
        id = row->leader > row->label ? row->leader_id : row->label_id;
        if (bn_row_is_nan(row))
            id = -1;
    }
    if (out->logp)
        out->logp[i] = bn_canonical_f32((float)token.logp);
    if (out->rest)
        out->rest[i] = bn_canonical_f32((float)token.rest);
    if (out->entropy)
        out->entropy[i] = bn_canonical_f32((float)entropy);
    if (out->log_square)
        out->log_square[i] = row->flags & BNFLOSS_ROW_IGNORED
                                 ? 0
                                 : bn_canonical_f32(
                                     (float)bn_row_log_square(row));
    if (out->argmax)
        out->argmax[i] = (int32_t)id;
}
