/* The formulas of all losses and the table of them, without a batch. The tests
 * compile this over a wider type as well. */
#include "real.h"           /* the number type and its few functions */
#include "softmax.h"        /* what a loss needs of one token's softmax */
#include "response.h"       /* what a loss is given */
#include "sft.h"            /* losses of one token */
#include "bnf.h"
#include "margin.h"         /* the margin u of a pair */
#include "logistic.h"       /* losses of a margin: logistic, */
#include "adadpo.h"         /* with a scale for each pair, */
#include "piecewise.h"      /* squares and hinges */
#include "pair_loss.h"      /* losses of a pair without a margin */
#include "sequence_loss.h"  /* losses of one response */
#include "table.h"          /* all of them, a line each */
