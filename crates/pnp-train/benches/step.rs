//! Images per second of a training step and of inference on the CPU.
//!
//! `cargo bench -p pnp-train --bench step -- --model resnet50 --batch 8 --size 224 --steps 5`
//!
//! A step embeds the batch with frozen batch norm, takes PNP-D_q of the embeddings (128 values,
//! unit length, 4 images per class), goes backward and moves every parameter by Adam.
//! `benches/peers/step.py --rust PROGRAM` runs the same in PyTorch in turns with this.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use pnp_model::{Network, NetworkConfig};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{self, PnpSettings};
use pnp_train::{OptimizerState, Rates, TrainConfig};

struct Arguments {
    model: String,
    batch: usize,
    size: usize,
    steps: usize,
}

fn arguments() -> Arguments {
    let mut found = Arguments { model: "resnet50".into(), batch: 8, size: 224, steps: 5 };
    let mut rest = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(name) = rest.next() {
        let value = rest.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} {value}: not a number"));
        match name.as_str() {
            "--model" => found.model = value,
            "--batch" => found.batch = number(),
            "--size" => found.size = number(),
            "--steps" => found.steps = number(),
            _ => panic!("{name} is not known: --model, --batch, --size, --steps"),
        }
    }
    found
}

/// The time of each phase of a step.
#[derive(Default)]
struct Phases {
    forward: Duration,
    loss: Duration,
    backward: Duration,
    optimiser: Duration,
}

fn main() {
    let Arguments { model, batch, size, steps } = arguments();
    let config = NetworkConfig { backbone: model.clone(), ..NetworkConfig::default() };
    pnp_model::keep_freed_memory();
    let mut network = config.init(0, &Device::flex()).expect("a known network");
    let count = batch * 3 * size * size;
    let pixels: Vec<f32> = (0..count).map(|i| (0.013 * (i % 65521) as f32).sin()).collect();
    let shape = [batch, 3, size, size];

    let inference = |network: &Network| {
        let start = Instant::now();
        pnp_model::to_host(network.embed(network.images(pixels.clone(), shape)));
        start.elapsed()
    };
    inference(&network);
    let embed = median((0..steps).map(|_| inference(&network)).collect());
    let after_inference = peak_mib();

    let mut optimiser = OptimizerState::new(&TrainConfig::default());
    train_step(&mut network, &mut optimiser, &pixels, shape);
    let (mut totals, mut phases) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let start = Instant::now();
        phases.push(train_step(&mut network, &mut optimiser, &pixels, shape));
        totals.push(start.elapsed());
    }
    let step = median(totals);
    let of = |part: fn(&Phases) -> Duration| 1e3 * median(phases.iter().map(part).collect());
    println!(
        "{model} batch {batch} size {size}: step {:.2} images/s, inference {:.2} images/s, \
         peak {after_inference:.0} MiB after inference, {:.0} MiB in all",
        batch as f64 / step,
        batch as f64 / embed,
        peak_mib()
    );
    println!(
        "  ms: inference {:.0}, step {:.0} = forward {:.0} + loss {:.1} + backward {:.0} + \
         optimiser {:.0}",
        1e3 * embed,
        1e3 * step,
        of(|p| p.forward),
        of(|p| p.loss),
        of(|p| p.backward),
        of(|p| p.optimiser)
    );
}

fn train_step(
    network: &mut Network,
    optimiser: &mut OptimizerState,
    pixels: &[f32],
    shape: [usize; 4],
) -> Phases {
    let mut phases = Phases::default();
    let mut last = Instant::now();
    let mut lap =
        |into: &mut Duration| *into = std::mem::replace(&mut last, Instant::now()).elapsed();
    let pass = network.embed_for_training(network.images(pixels.to_vec(), shape));
    let embeddings = pass.embeddings();
    lap(&mut phases.forward);
    let labels: Vec<u32> = (0..shape[0] as u32).map(|i| i / 4).collect();
    let rows = Embeddings::new(&embeddings, 128).expect("rows of the network");
    let loss = loss::build("PNP-D_q(alpha=4)", &PnpSettings::default()).expect("a known loss");
    let output = loss.forward_f32(&rows, &labels).expect("finite embeddings");
    lap(&mut phases.loss);
    let gradients = pass.backward(output.gradient);
    lap(&mut phases.backward);
    let rates = Rates { backbone: 1e-6, head: 1e-6, proxies: 0.0 };
    optimiser.step(network.parameters_mut(), &gradients, rates);
    lap(&mut phases.optimiser);
    phases
}

/// In seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// The most memory the process has held, on Linux; 0 elsewhere.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
