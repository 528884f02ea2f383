//! The operations of a transformer in ONNX's operators.

use super::writer::{Shape, Value, Writer, real, wholes};
use crate::parameters::to_host;
use crate::transformer::{LayerNorm, Tokens};

impl Writer<'_> {
    /// A map's positions as tokens, row by row, behind a class token, each with what belongs to
    /// its place added.
    pub(super) fn with_class_token(&self, layer: &Tokens, x: &Value) -> Value {
        let (channels, sides) = x.shape.expect_maps();
        let patches = sides[0] * sides[1];
        let (class, positions) = (layer.class, layer.positions);
        let key = self.begin_layer(positions);
        let rows = self.reshape(x, &[0, channels as i64, patches as i64], x.shape);
        let shape = Shape::Tokens { tokens: 1 + patches, channels };
        let rows = self.node("Transpose", &[&rows.name], vec![wholes("perm", &[0, 2, 1])], shape);
        // The class token is the same in every image, so a row of zeros takes its place and it
        // comes with its position: no operation need know the batch.
        let pads = self.whole_constant(&[0, 1, 0, 0, 0, 0]);
        let rows = self.node("Pad", &[&rows.name, &pads], vec![], shape);
        let mut added = to_host(layer.positions(self.parameters, sides));
        for (value, class) in added.iter_mut().zip(to_host(layer.class(self.parameters))) {
            *value += class;
        }
        let keys = [class, positions].map(|id| self.parameters.entry(id).key.as_str());
        let added = self.weights(&key, "added", &[1, 1 + patches, channels], &added, &keys);
        self.node("Add", &[&rows.name, &added], vec![], shape)
    }

    /// Layer norm over the channels of tokens or of a vector.
    pub(super) fn normalised(&self, layer: &LayerNorm, x: &Value) -> Value {
        let channels = x.shape.channels();
        assert!(!matches!(x.shape, Shape::Maps { .. }), "a layer norm is not over channels first");
        // Without an axis it is over the last one.
        let attributes = vec![real("epsilon", layer.epsilon as f32)];
        let Some([weight, bias]) = layer.affine else {
            let ones = self.ones(channels);
            return self.node("LayerNormalization", &[&x.name, &ones], attributes, x.shape);
        };
        let key = self.begin_layer(weight);
        let [weight, bias] = [(weight, "weight"), (bias, "bias")].map(|(id, name)| {
            let (made_of, values) = self.read(id);
            self.weights(&key, name, &[channels], &values, &[made_of])
        });
        let inputs = [x.name.as_str(), &weight, &bias];
        self.layer_node(&key, "LayerNormalization", &inputs, attributes, x.shape)
    }

    /// Attention among tokens; see [`Executor::attention`](crate::executor::Executor::attention).
    pub(super) fn attended(&self, heads: usize, x: &Value) -> Value {
        let Shape::Tokens { tokens, channels } = x.shape else {
            panic!("attention is among tokens, not in {:?}", x.shape)
        };
        let width = channels / 3;
        let size = width / heads;
        let y = Shape::Tokens { tokens, channels: width };
        let sides = [0, tokens as i64, heads as i64, size as i64];
        let part = |place: usize, order: [usize; 4]| {
            let cut = [place * width, (place + 1) * width, 2];
            let [from, to, axis] = cut.map(|place| self.whole_constant(&[place as i64]));
            let part = self.node("Slice", &[&x.name, &from, &to, &axis], vec![], y);
            let part = self.reshape(&part, &sides, y);
            self.node("Transpose", &[&part.name], vec![wholes("perm", &order)], y)
        };
        let (q, k, v) = (part(0, [0, 2, 1, 3]), part(1, [0, 2, 3, 1]), part(2, [0, 2, 1, 3]));
        let scale = self.constant((size as f32).sqrt().recip());
        let q = self.node("Mul", &[&q.name, &scale], vec![], y);
        let scores = self.node("MatMul", &[&q.name, &k.name], vec![], y);
        let shares = self.node("Softmax", &[&scores.name], vec![], y);
        let mixed = self.node("MatMul", &[&shares.name, &v.name], vec![], y);
        let mixed = self.node("Transpose", &[&mixed.name], vec![wholes("perm", &[0, 2, 1, 3])], y);
        self.reshape(&mixed, &[0, tokens as i64, width as i64], y)
    }

    /// The same values in another shape; 0 stands for the batch.
    fn reshape(&self, x: &Value, sides: &[i64], shape: Shape) -> Value {
        let sides = self.whole_constant(sides);
        self.node("Reshape", &[&x.name, &sides], vec![], shape)
    }
}
