//! Images per second of a training step and of inference, on the CPU or on a GPU.
//!
//! `cargo bench -p pnp-train --bench step -- --model resnet50 --batch 8 --size 224 --steps 5`
//! `cargo bench -p pnp-train --bench step --features cuda -- --device cuda --precision bf16`
//!
//! A step embeds the batch with frozen batch norm, takes PNP-D_q of the embeddings (128 values,
//! unit length, 4 images per class), goes backward and moves every parameter by Adam. Images come
//! from the host in each pass: as normalised values to the CPU, as bytes to a GPU. A GPU's phases
//! are those of handing work to it; only the whole steps are timed to their end.
//! `benches/peers/step.py --rust PROGRAM` runs the same in PyTorch in turns with this.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use pnp_model::{Network, NetworkConfig, PixelScale, Precision};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{self, PnpSettings};
use pnp_train::{OptimizerState, Rates, TrainConfig};

/// Steps before the timing begins: buffers are there then, and kernels chosen.
const WARM_UP: usize = 2;

struct Arguments {
    model: String,
    batch: usize,
    size: usize,
    steps: usize,
    device: Device,
    precision: Precision,
    freeze_until: Option<String>,
}

fn arguments() -> Arguments {
    let mut found = Arguments {
        model: "resnet50".into(),
        batch: 8,
        size: 224,
        steps: 5,
        device: Device::flex(),
        precision: Precision::F32,
        freeze_until: None,
    };
    let mut rest = std::env::args().skip(1).filter(|arg| arg != "--bench");
    while let Some(name) = rest.next() {
        let value = rest.next().unwrap_or_else(|| panic!("{name} needs a value"));
        let number = || value.parse().unwrap_or_else(|_| panic!("{name} {value}: not a number"));
        match name.as_str() {
            "--model" => found.model = value,
            "--batch" => found.batch = number(),
            "--size" => found.size = number(),
            "--steps" => found.steps = number(),
            "--device" => found.device = device(&value),
            "--precision" => found.precision = Precision::parse(&value).expect("f32 or bf16"),
            "--freeze-until" => found.freeze_until = Some(value),
            _ => panic!(
                "{name} is not known: --model, --batch, --size, --steps, --device, --precision, \
                 --freeze-until"
            ),
        }
    }
    found
}

fn device(name: &str) -> Device {
    match name {
        "cpu" => Device::flex(),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(0),
        _ => panic!("--device {name}: this build has no such device"),
    }
}

/// The images of every pass: as values, and as bytes for a GPU.
struct Images {
    pixels: Vec<f32>,
    bytes: Vec<u8>,
    shape: [usize; 4],
}

impl Images {
    fn new(shape: [usize; 4]) -> Self {
        let count = shape.iter().product();
        let pixels: Vec<f32> = (0..count).map(|i| (0.013 * (i % 65521) as f32).sin()).collect();
        let bytes = pixels.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect();
        Self { pixels, bytes, shape }
    }

    fn on(&self, network: &Network) -> Tensor<4> {
        if network.is_on_host() {
            return network.images(self.pixels.clone(), self.shape);
        }
        let scale = PixelScale { largest: 1.0, mean: [0.5; 3], std: [0.5; 3], bgr: false };
        network.images_of_bytes(self.bytes.clone(), self.shape, &scale)
    }
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
    let Arguments { model, batch, size, steps, device, precision, freeze_until } = arguments();
    let config =
        NetworkConfig { backbone: model.clone(), freeze_until, ..NetworkConfig::default() };
    pnp_model::keep_freed_memory();
    let mut network = config.init(0, &device).expect("a known network");
    network.set_precision(precision).expect("a precision of the device");
    let images = Images::new([batch, 3, size, size]);

    let inference = |network: &Network| {
        let start = Instant::now();
        pnp_model::to_host(network.embed(images.on(network)));
        start.elapsed()
    };
    let start = Instant::now();
    inference(&network);
    eprintln!("first inference: {:.1} s", start.elapsed().as_secs_f64());
    let embed = median((0..steps).map(|_| inference(&network)).collect());
    let after_inference = peak_mib();
    eprintln!("inference: {:.2} images/s", batch as f64 / embed);

    let mut optimiser = OptimizerState::new(&TrainConfig::default());
    let start = Instant::now();
    for _ in 0..WARM_UP {
        train_step(&mut network, &mut optimiser, &images);
        finish(&network);
        eprintln!("after {:.1} s of steps", start.elapsed().as_secs_f64());
    }
    let (mut totals, mut phases) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let start = Instant::now();
        phases.push(train_step(&mut network, &mut optimiser, &images));
        if network.is_on_host() {
            totals.push(start.elapsed());
        }
    }
    let step = if network.is_on_host() {
        median(totals)
    } else {
        // Steps overlap there: all of them together are timed.
        finish(&network);
        let start = Instant::now();
        for _ in 0..steps {
            train_step(&mut network, &mut optimiser, &images);
        }
        finish(&network);
        start.elapsed().as_secs_f64() / steps as f64
    };
    let of = |part: fn(&Phases) -> Duration| 1e3 * median(phases.iter().map(part).collect());
    println!(
        "{model} {precision} batch {batch} size {size}: step {:.2} images/s, inference {:.2} images/s, \
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

/// Waits until the device has done what it was given.
fn finish(network: &Network) {
    if !network.is_on_host() {
        let last = network.parameters().entries().last().expect("a head");
        pnp_model::to_host(last.tensor.clone());
    }
}

fn train_step(network: &mut Network, optimiser: &mut OptimizerState, images: &Images) -> Phases {
    let mut phases = Phases::default();
    let mut last = Instant::now();
    let mut lap =
        |into: &mut Duration| *into = std::mem::replace(&mut last, Instant::now()).elapsed();
    let pass = network.embed_for_training(images.on(network));
    let embeddings = pass.embeddings();
    lap(&mut phases.forward);
    let labels: Vec<u32> = (0..images.shape[0] as u32).map(|i| i / 4).collect();
    let rows = Embeddings::new(&embeddings, 128).expect("rows of the network");
    let loss = loss::build("PNP-D_q(alpha=4)", &PnpSettings::default()).expect("a known loss");
    let output = loss.forward_f32(&rows, &labels).expect("finite embeddings");
    lap(&mut phases.loss);
    let gradients = pass.backward(output.gradient);
    lap(&mut phases.backward);
    let rates = Rates { backbone: 1e-6, head: 1e-6, proxies: 0.0 };
    optimiser.step(network.parameters_mut(), gradients, rates);
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
