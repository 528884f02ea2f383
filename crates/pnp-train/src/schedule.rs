//! The learning rate of an epoch.

use crate::config::{Scheduler, TrainConfig};

/// A learning rate's course over the epochs.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    gamma: f64,
    milestones: Vec<u64>,
}

/// The learning rates of one epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Of the backbone.
    pub backbone: f64,
    /// Of the embedding head.
    pub head: f64,
    /// Of the loss's proxies.
    pub proxies: f64,
}

impl Schedule {
    /// The schedule of a configuration.
    pub fn new(config: &TrainConfig) -> Self {
        let milestones = match config.scheduler {
            Scheduler::Step => config.tau.clone(),
            Scheduler::None => Vec::new(),
        };
        Self { gamma: config.gamma, milestones }
    }

    /// What the base rate is multiplied with in an epoch, counted from 0: `gamma` to the power of
    /// the milestones behind it (PyTorch's `MultiStepLR`).
    pub fn factor(&self, epoch: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&m| m <= epoch).count();
        self.gamma.powi(passed as i32)
    }

    /// The learning rates of an epoch, counted from 0. `proxy_rate` is that of proxies over that of
    /// the network where none is set.
    pub(crate) fn rates(&self, config: &TrainConfig, epoch: u64, proxy_rate: f64) -> Rates {
        let factor = self.factor(epoch);
        let head = if config.fc_lr > 0.0 { config.fc_lr } else { config.lr };
        let proxies = if config.proxy_lr > 0.0 { config.proxy_lr } else { config.lr * proxy_rate };
        Rates { backbone: config.lr * factor, head: head * factor, proxies: proxies * factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_at_the_milestones_themselves() {
        let config = TrainConfig { tau: vec![2, 5], gamma: 0.5, ..TrainConfig::default() };
        let schedule = Schedule::new(&config);
        let factors: Vec<f64> = (0..7).map(|epoch| schedule.factor(epoch)).collect();
        assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
    }

    #[test]
    fn no_scheduler_keeps_the_rate() {
        let config = TrainConfig {
            tau: vec![1],
            scheduler: Scheduler::None,
            lr: 0.5,
            fc_lr: 2.0,
            proxy_lr: 3.0,
            ..TrainConfig::default()
        };
        let rates = Schedule::new(&config).rates(&config, 9, 100.0);
        assert_eq!(rates, Rates { backbone: 0.5, head: 2.0, proxies: 3.0 });
    }

    #[test]
    fn proxies_learn_as_fast_as_the_loss_says_unless_told() {
        let config = TrainConfig { lr: 0.5, ..TrainConfig::default() };
        assert_eq!(Schedule::new(&config).rates(&config, 0, 100.0).proxies, 50.0);
    }
}
