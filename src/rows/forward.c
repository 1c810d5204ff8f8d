/* The forward pass of a chunk of a row: the label, the kernel's sums, and what
 * the layout asks for besides. */

/* Fills in the chunk's sum of squares, e^(2 (z' - leader)): its plain sum once
 * more, with 2 z' for z' and the same leader. */
static void bn_chunk_squares(const bn_sweep *sweep, const bn_chunk *chunk,
                             bnfloss_row *row)
{
    bnfloss_row doubled;

    bn_row_init(&doubled, sweep->layout, row->label_id);
    sweep->forward_doubled(chunk, &sweep->doubled, &doubled);
    row->square = doubled.flags & BNFLOSS_ROW_NAN ? BN_NAN : doubled.sum;
    row->flags |= BNFLOSS_ROW_SQUARES;
}

/* Sums the chunk of columns from c on, as a row of its own, into *row. save:
 * NULL, or where to save its exponentials. */
static void bn_row_chunk(const bn_sweep *sweep, const bn_row_input *input,
                         int64_t c, bnfloss_row *row, bn_save *save)
{
    const bnfloss_layout *lay = sweep->layout;
    const int64_t n = bn_chunk_size(lay->vocab, c);
    const int64_t at = input->label - lay->vocab_begin - c;
    const int here = at >= 0 && at < n;
    /* The kernel may save an exponential in its place, so it is read first. */
    const float label_z = here ? bn_get(lay->logits_type, input->logits,
                                        c + at) : 0;
    bn_chunk chunk;

    chunk.logits = bn_at(lay->logits_type, input->logits, c);
    chunk.grad = NULL;
    chunk.type = chunk.grad_type = lay->logits_type;
    chunk.n = n;
    chunk.label = here ? at : -1;
    chunk.nontemporal = 0;
    chunk.save = save;
    bn_row_init(row, lay, input->label);
    sweep->forward(&chunk, &sweep->map, row);
    if (row->leader_id >= 0)
        row->leader_id += lay->vocab_begin + c;
    if (lay->flags & BNFLOSS_ENTROPY)
        row->flags |= BNFLOSS_ROW_ENTROPY;
    else
        row->dot = 0;
    if (lay->flags & BNFLOSS_MEAN)
        row->flags |= BNFLOSS_ROW_MEAN;
    else
        row->shift = row->finite = 0;
    if (lay->flags & BNFLOSS_SQUARES)
        bn_chunk_squares(sweep, &chunk, row);
    if (here) {
        row->flags |= BNFLOSS_ROW_LABEL;
        row->label = bn_map_value(&sweep->map, label_z);
        if (!(row->label < BN_INF))
            row->flags |= BNFLOSS_ROW_NAN;
    }
}
