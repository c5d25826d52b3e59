"""Small graphs, each with one thing that half precision converters get wrong.

Written in ONNX's text form; ``OPSET`` is filled in. Inputs get values by ``feeds``.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser

IR_VERSION = 8

GRAPHS: dict[str, str] = {
    "linear": """
        g (float[batch, 4] x) => (float[batch, 3] y)
        <float[4, 3] w = {0.5, -1.25, 0.1, 0.3, 2.0, -0.7, 0.01, 0.9, -0.33, 1.5, 0.2, -0.6},
         float[3] b = {0.1, 0.2, 0.3}>
        { h = MatMul(x, w)  y = Add(h, b) }""",
    "conv-batch-norm-relu": """
        g (float[n, 1, 4, 4] x) => (float[n, 2, 4, 4] y)
        <float[2, 1, 3, 3] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
                                -0.1, 0.2, -0.3, 0.4, -0.5, 0.6, -0.7, 0.8, -0.9},
         float[2] s = {1.1, 0.9}, float[2] b = {0.1, -0.1}, float[2] m = {0.2, 0.3}, float[2] v = {1.5, 0.5}>
        { c = Conv<pads = [1, 1, 1, 1]>(x, w)  n = BatchNormalization(c, s, b, m, v)  y = Relu(n) }""",
    "output-used-inside": """
        g (float[2, 3] x) => (float[2, 3] h, float[2, 3] y)
        { h = Sigmoid(x)  y = Tanh(h) }""",
    "output-of-a-blocked-node-used-inside": """
        g (float[2, 3] x) => (float[2, 3] h, float[2, 3] y)
        <int64 axis = {1}>
        { h = CumSum(x, axis)  y = Tanh(h) }""",
    "internal-cast-of-a-mask": """
        g (float[2, 3] x, int64[2, 3] mask) => (float[2, 3] y)
        { m = Cast<to = 1>(mask)  y = Mul(x, m) }""",
    "image-of-bytes": """
        g (uint8[1, 2, 2, 3] image) => (float[1, 3, 2, 2] y)
        <float scale = {255.0}>
        { f = Cast<to = 1>(image)  t = Transpose<perm = [0, 3, 1, 2]>(f)  y = Div(t, scale) }""",
    "one-hot": """
        g (int64[3] i) => (float[3, 4] y)
        <int64 depth = {4}, float[2] values = {0.0, 1.5}>
        { o = OneHot(i, depth, values)  y = Sigmoid(o) }""",
    "ends-in-resize": """
        g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y)
        <float[4] scales = {1.0, 1.0, 2.0, 2.0}>
        { h = Sigmoid(x)  y = Resize<mode = "linear">(h, , scales) }""",
    "ends-in-top-k": """
        g (float[2, 5] x) => (float[2, 3] v, int64[2, 3] i)
        <int64[1] k = {3}>
        { h = Sigmoid(x)  v, i = TopK(h, k) }""",
    "ends-in-min-and-max": """
        g (float[2, 3] x, float[2, 3] z) => (float[2, 3] low, float[2, 3] high)
        { h = Sigmoid(x)  low = Min(h, z)  high = Max(h, z) }""",
    "output-listed-twice": """
        g (float[2, 3] x) => (float[2, 3] y, float[2, 3] y)
        { h = Sigmoid(x)  y = Tanh(h) }""",
    "output-is-an-input": """
        g (float[2, 3] x) => (float[2, 3] x, float[2, 3] y)
        { y = Sigmoid(x) }""",
    "output-is-a-weight": """
        g (float[2] x) => (float[2] w, float[2] y)
        <float[2] w = {0.1, 0.2}>
        { y = Mul(x, w) }""",
    "output-is-a-weight-of-a-blocked-node": """
        g (float[2] x) => (float[2] w, float[2] y)
        <float[2] w = {0.1, 0.2}>
        { y = Max(x, w) }""",
    "weight-shared-with-a-blocked-node": """
        g (float[2] x) => (float[2] y, float[2] z)
        <float[2] w = {0.1, 3.0}>
        { y = Mul(x, w)  z = Max(x, w) }""",
    "weight-listed-as-an-input": """
        g (float[2] x, float[2] w) => (float[2] y, float[2] z)
        <float[2] w = {0.1, 3.0}>
        { y = Mul(x, w)  z = Add(y, w) }""",
    "weight-listed-as-an-input-of-a-blocked-node": """
        g (float[2] x, float[2] w) => (float[2] y, float[2] z)
        <float[2] w = {0.1, 3.0}>
        { y = Max(x, w)  z = Add(y, w) }""",
    "constant-shared-with-a-blocked-node": """
        g (float[2] x) => (float[2] y, float[2] z)
        { c = Constant<value_floats = [0.1, 3.0]>()  y = Mul(x, c)  z = Max(x, c) }""",
    "constants-in-every-form": """
        g (float[2] x) => (float[2] y)
        { a = Constant<value_float = 0.1>()  b = Constant<value_floats = [0.2, 0.3]>()
          c = Constant<value = float[2] {0.4, 0.5}>()  one = Constant<value_ints = [2]>()
          d = ConstantOfShape<value = float[1] {0.7}>(one)  e = ConstantOfShape(one)
          f = Add(x, a)  h = Mul(f, b)  i = Add(h, c)  j = Mul(i, d)  y = Add(j, e) }""",
    "if-with-names-used-twice": """
        g (float[2] x, bool c) => (float[2] y)
        <float[2] w = {0.3, 0.7}>
        { s = Sigmoid(x)
          r = If(c) <then_branch = a () => (float[2] o) { t = Mul(s, w)  o = Add(t, x) },
                     else_branch = b () => (float[2] o) { t = Sub(s, w)  o = Tanh(t) }>
          y = Add(r, w) }""",
    "if-with-a-blocked-node-inside": """
        g (float[2] x, bool c) => (float[2] y)
        <float[2] w = {0.3, 0.7}>
        { s = Sigmoid(x)
          y = If(c) <then_branch = a () => (float[2] o) { o = Max(s, w) },
                     else_branch = b () => (float[2] p) { p = Mul(s, w) }> }""",
    "if-that-returns-constants-and-integers": """
        g (float[2] x, bool c) => (float[2] y, int64[1] n)
        { r, n = If(c) <
            then_branch = a () => (float[2] o, int64[1] i)
              { o = Constant<value_floats = [0.1, 0.2]>()  i = Constant<value_ints = [3]>() },
            else_branch = b () => (float[2] p, int64[1] j)
              { p = Identity(x)  j = Constant<value_ints = [4]>() }>
          y = Mul(r, x) }""",
    "loop-with-a-state-and-a-scan-output": """
        g (float[2] x, int64 n) => (float[2] y, float[m, 2] all)
        <bool go = {1}, float[2] w = {0.3, 0.7}>
        { y, all = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] o)
            { d = Identity(c)  m = Mul(s, w)  f = Cast<to = 1>(i)  t = Add(m, f)  o = Sigmoid(t) }> }""",
    "loop-around-a-blocked-node-and-an-if": """
        g (float[2] x, int64 n) => (float[2] y)
        <bool go = {1}, float[2] w = {0.3, 0.7}>
        { h = Sigmoid(x)
          y = Loop(n, go, h) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
            { d = Identity(c)  m = Max(s, w)
              t = If(c) <then_branch = p () => (float[2] u) { u = Mul(m, h) },
                         else_branch = q () => (float[2] u) { u = Identity(m) }> }> }""",
    "scan": """
        g (float[2] x, float[3, 2] xs) => (float[2] y, float[3, 2] ys)
        { y, ys = Scan(x, xs) <num_scan_inputs = 1,
            body = b (float[2] s, float[2] e) => (float[2] t, float[2] o)
            { a = Add(s, e)  t = Tanh(a)  o = Sigmoid(t) }> }""",
    "sequences": """
        g (float[4, 2] x) => (float[2, 2] y)
        <int64 two = {2}, int64 one = {1}>
        { h = Sigmoid(x)  s = SplitToSequence<axis = 0>(h, two)  e = SequenceAt(s, one)  y = Tanh(e) }""",
    "sequence-in-a-loop": """
        g (float[2] x, int64 n) => (float[m] y)
        <bool go = {1}>
        { e = SequenceEmpty()
          s, t = Loop(n, go, e, x) <
            body = b (int64 i, bool c, seq(float[2]) q, float[2] v) => (bool d, seq(float[2]) r, float[2] w)
            { d = Identity(c)  w = Sigmoid(v)  r = SequenceInsert(q, w) }>
          k = ConcatFromSequence<axis = 0>(s)  y = Tanh(k) }""",
    "float64-inside": """
        g (float[2] x) => (float[2] y, double[2] d)
        { h = Sigmoid(x)  d = Cast<to = 11>(h)  e = Mul(d, d)  f = Cast<to = 1>(e)  y = Add(f, h) }""",
    "inputs-left-out": """
        g (float[2] x) => (float[2] y)
        <float top = {0.75}>
        { h = Sigmoid(x)  y = Clip(h, , top) }""",
    "function-of-its-own": """
        g (float[2] x) => (float[2] y) { h = mine.twice(x)  y = mine.twice(h) }
        <domain: "mine", opset_import: ["": OPSET]>
        twice (a) => (b) { c = Constant<value_float = 0.3>()  b = Mul(a, c) }""",
    "operator-of-another-domain": """
        g (float[2] x) => (float[2] y, float[2] z)
        { h = Sigmoid(x)  k = com.microsoft.Gelu(h)  y = Tanh(k)  z = Identity(k) }""",
    "split-has-many-outputs": """
        g (float[4] x) => (float[2] y, float[2] z)
        <int64[2] parts = {2, 2}>
        { a, b = Split<axis = 0>(x, parts)  y = Sigmoid(a)  z = Max(b, y) }""",
    "pooling-with-indices": """
        g (float[1, 1, 4, 4] x) => (float[1, 1, 2, 2] y, int64[1, 1, 2, 2] i)
        { y, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }""",
    "normalization-with-its-statistics": """
        g (float[2, 4] x) => (float[2, 4] y, float[2, 1] mean)
        <float[4] s = {1.0, 0.5, 2.0, 1.5}>
        { y, mean = LayerNormalization(x, s) }""",
    "sizes-compared-beside-a-blocked-node": """
        g (float[1, n] x) => (float[1, n] y)
        <float least = {0.5}, int64[1] one = {1}, int64[1] end = {2}>
        { s = Shape(x)  k = Slice(s, one, end)  f = Cast<to = 1>(k)  many = Constant<value = float {4.0}>()
          few = Less(f, many)  wide = Max(f, least)  z = Mul(x, wide)  y = Where(few, x, z) }""",
    "sizes-computed-in-float": """
        g (float[1, n] x) => (float[1, m] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] one_end = {2}, float factor = {1.0009}>
        { s = Shape(x)  n1 = Slice(s, one, one_end)  f = Cast<to = 1>(n1)  g1 = Mul(f, factor)
          h = Floor(g1)  i = Cast<to = 7>(h)  j = Sub(i, n1)  p = Concat<axis = 0>(zero, zero, zero, j)
          y = Pad(x, p) }""",
    "range-and-positions": """
        g (float[3, 2] x) => (float[3, 2] y)
        <float start = {0.0}, float stop = {3.0}, float step = {1.0}, int64[1] axis = {1}>
        { r = Range(start, stop, step)  u = Unsqueeze(r, axis)  y = Add(x, u) }""",
    "moves-between-two-blocked-nodes": """
        g (float[2, 3] x, float[2, 3] z) => (float[3, 2] y)
        <float[3, 2] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}>
        { m = Max(x, z)  t = Transpose<perm = [1, 0]>(m)  y = Min(t, w) }""",
    "comparisons-and-selections": """
        g (float[2, 3] x) => (float[2, 3] y, int64[2] i, bool[2, 3] n)
        <float zero = {0.1}>
        { h = Tanh(x)  c = Greater(h, zero)  k = Neg(h)  y = Where(c, h, k)
          i = ArgMax<axis = 1, keepdims = 0>(h)  n = IsNaN(h) }""",
    "power-with-its-own-type": """
        g (float[2] x) => (float[2] y)
        <float two = {2.0}, int64 three = {3}>
        { p = Pow(x, two)  q = Pow(p, three)  y = Sqrt(p) }""",
    "random-and-eye": """
        g (float[2, 2] x) => (float[2, 2] y)
        <float zero = {0.0}>
        { e = EyeLike(x)  r = RandomNormalLike(x)  s = RandomUniform<shape = [2, 2]>()
          t = Add(r, s)  z = Mul(t, zero)  a = Add(x, e)  y = Add(a, z) }""",
    "cast-like": """
        g (int64[2] i, float[2] x) => (float[2] y)
        { f = CastLike(i, x)  y = Mul(f, x) }""",
    "casts-that-do-nothing": """
        g (float[2] x) => (float[2] y)
        { a = Cast<to = 1>(x)  b = Sigmoid(a)  c = Cast<to = 1>(b)  d = Max(c, x)
          e = Cast<to = 1>(d)  y = Tanh(e) }""",
    "parts-in-half-already": """
        g (float[2] x) => (float[2] y)
        { a = Sigmoid(x)  b = Cast<to = 10>(a)  c = Mul(b, b)  d = Cast<to = 1>(c)  y = Tanh(d) }""",
    "names-that-are-taken": """
        g (float[2] x, float[2] x_fp16) => (float[2] y)
        { x_to_fp16 = Mul(x, x_fp16)  y_fp16 = Sigmoid(x_to_fp16)  y = Add(y_fp16, x) }""",
    "scalars": """
        g (float x, float[2] z) => (float s, float[2] y)
        <float c = {0.3}>
        { s = Mul(x, c)  y = Mul(z, s) }""",
    "integers-only": """
        g (int64[2] x) => (int64[2] y)
        { y = Add(x, x) }""",
    "unused-input-and-weight": """
        g (float[2] x, float[3] unused) => (float[2] y)
        <float[2] w = {0.1, 0.2}>
        { y = Sigmoid(x) }""",
    "recurrent": """
        g (float[3, 2, 4] x) => (float[3, 1, 2, 5] y, float[1, 2, 5] h)
        { w0 = Constant<value_float = 0.1>()  s = Constant<value_ints = [1, 20, 4]>()
          w = Expand(w0, s)  t = Constant<value_ints = [1, 20, 5]>()  r = Expand(w0, t)
          y, h = LSTM<hidden_size = 5>(x, w, r) }""",
    "recurrent-in-both-directions": """
        g (float[5, 2, 4] x) => (float[5, 2, 2, 3] y, float[2, 2, 3] h)
        { w0 = Constant<value_float = 0.3>()  s = Constant<value_ints = [2, 9, 4]>()
          w = Expand(w0, s)  t = Constant<value_ints = [2, 9, 3]>()  r = Expand(w0, t)
          u = Constant<value_ints = [2, 18]>()  b = Expand(w0, u)
          y, h = GRU<hidden_size = 3, linear_before_reset = 1, direction = "bidirectional">(x, w, r, b) }""",
    "recurrent-plain": """
        g (float[5, 2, 4] x) => (float[5, 1, 2, 3] y)
        { w0 = Constant<value_float = 0.3>()  s = Constant<value_ints = [1, 3, 4]>()
          w = Expand(w0, s)  t = Constant<value_ints = [1, 3, 3]>()  r = Expand(w0, t)
          y = RNN<hidden_size = 3, direction = "reverse">(x, w, r) }""",
    "casts-to-half-and-back": """
        g (float[2] x, float[2] z) => (float[2] y, float[2] d, float[2] e)
        { a = Cast<to = 10>(x)  b = Cast<to = 1>(a)  c = Sigmoid(b)  d = Cast<to = 1>(c)
          f = Cast<to = 10>(c)  h = Mul(f, f)  k = Cast<to = 1>(h)  m = Max(k, z)  y = Add(m, k)
          e = Cast<to = 1>(x) }""",
    "casts-through-float64-and-back": """
        g (float[2] x) => (float[2] y, double[2] d)
        { h = Sigmoid(x)  d = Cast<to = 11>(h)  f = Cast<to = 1>(d)  k = Cast<to = 11>(f)
          m = Cast<to = 1>(k)  y = Tanh(m) }""",
    "casts-in-a-body": """
        g (float[2] x, int64 n) => (float[2] y)
        <bool go = {1}>
        { h = Cast<to = 10>(x)
          y = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
            { d = Identity(c)  u = Cast<to = 1>(h)  v = Cast<to = 1>(s)  m = Mul(u, v)
              t = Cast<to = 1>(m) }> }""",
    "a-body-returns-what-it-got": """
        g (float[2] x, float[2] z, int64 n) => (float[2] y, float[2] w, float[m, 2] all, float[m, 2] old)
        <bool go = {1}>
        { y, w, all, old = Loop(n, go, x, z) <
            body = b (int64 i, bool c, float[2] s, float[2] k)
              => (bool c, float[2] t, float[2] k, float[2] t, float[2] s)
            { t = Mul(s, k) }> }""",
    "weights-of-a-blocked-node-that-are-prepared": """
        g (float[2, 2] x) => (float[2, 2] y)
        <float[2, 2] w = {0.1, 3.0, 0.7, 0.2}, float[1, 2] v = {0.3, 0.6}, int64[1] axis = {0}>
        { t = Transpose<perm = [1, 0]>(w)  i = Identity(t)  m = Max(x, i)
          s = Squeeze(v, axis)  y = Min(m, s) }""",
    "quantized": """
        g (float[2, 2] x) => (float[2, 2] y)
        <float scale = {0.05}, uint8 zero = {128}>
        { h = Tanh(x)  q = QuantizeLinear(h, scale, zero)  d = DequantizeLinear(q, scale, zero)
          y = Sigmoid(d) }""",
    "boxes-are-fixed-to-float": """
        g (float[1, 3, 4] boxes, float[1, 1, 3] scores) => (int64[n, 3] picked, float[1, 1, 3] s)
        <int64[1] most = {2}, float[1] overlap = {0.5}>
        { s = Sigmoid(scores)  picked = NonMaxSuppression(boxes, s, most, overlap) }""",
    "attention-like": """
        g (float[1, 2, 4] x, int64[1, 2] mask) => (float[1, 2, 4] y)
        <float eight = {2.0}, float one = {1.0}, float low = {-3.4e38}, int64[1] axis = {1},
         float[4, 4] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, -0.1, -0.2, -0.3, -0.4, 0.3, 0.2, 0.1, 0.0}>
        { q = MatMul(x, w)  k = Transpose<perm = [0, 2, 1]>(x)  a = MatMul(q, k)  b = Div(a, eight)
          m = Cast<to = 1>(mask)  n = Sub(one, m)  o = Unsqueeze(n, axis)  p = Mul(o, low)
          c = Add(b, p)  s = Softmax<axis = -1>(c)  y = MatMul(s, x) }""",
}  # fmt: skip

# Not before this opset; DequantizeLinear because ONNX's reference implementation has none before.
SINCE = {"normalization-with-its-statistics": 17, "cast-like": 15, "quantized": 19}
# ONNX's reference implementation does not know these.
WITHOUT_ORACLE = frozenset({"operator-of-another-domain"})


def graph(name: str, opset: int = 19) -> onnx.ModelProto:
    """One of ``GRAPHS`` at an opset."""
    return parse(GRAPHS[name], opset)


def parse(text: str, opset: int = 19, *, check: bool = True) -> onnx.ModelProto:
    """A valid model from the text of a graph."""
    domains = f'"": {opset}, "mine": 1, "com.microsoft": 1'
    head = f"<ir_version: {IR_VERSION}, opset_import: [{domains}]>"
    proto = onnx.parser.parse_model(head + text.replace("OPSET", str(opset)))
    if check:
        onnx.checker.check_model(proto, full_check=True)
    return proto


def feeds(proto: onnx.ModelProto, seed: int = 0, size: int = 3001) -> dict[str, np.ndarray]:
    """Random values for the inputs: floats around 0, small integers; symbolic axes get ``size``.

    3001 is a size that half precision does not hold.
    """
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in proto.graph.initializer}
    arrays: dict[str, np.ndarray] = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else size for d in tensor.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if dtype == np.bool_ or value.name == "mask":
            array = rng.integers(0, 2, shape)
        elif np.issubdtype(dtype, np.integer):
            array = rng.integers(1, 4, shape)
        else:
            array = rng.normal(size=shape)
        arrays[value.name] = np.asarray(array, dtype)
    return arrays
