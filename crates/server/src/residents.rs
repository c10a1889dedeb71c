//! The models in memory: loaded on demand, one at a time, and unloaded when they are idle.
//!
//! ```text
//! get ──in memory──────────────────────────► lease
//!  └─► queue ─► turn ─► room for it? ─► load ──┘ └─► last lease ends ─► keep_alive ─► turn ─► unload
//!                          │ unloads idle models, longest unused first, if that is enough
//!                          └─no─► 503; nothing is unloaded
//! ```

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sterna::engine::Engine;
use sterna::kernels::{limits, memory};
use sterna_grammar::Grammars;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::catalog::{Found, Load, Models};
use crate::description::Description;
use crate::error::ApiError;
use crate::keep_alive::KeepAlive;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::{Error, Settings};

/// The models that a server offers, and those of them that are in memory.
pub struct Residents {
    slots: Vec<Slot>,
    /// The slot of requests that name no model.
    default: Option<usize>,
    /// Bytes of memory that all models together may take.
    bound: Option<u64>,
    /// How long an idle model stays; a request may ask for less.
    keep_alive: KeepAlive,
    /// Held while a model is loaded or unloaded.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// A lease has ended, or a model was loaded or unloaded.
    changed: Notify,
    /// Whether the task runs that unloads idle models.
    watched: AtomicBool,
}

/// A model that is offered.
struct Slot {
    description: Arc<Description>,
    /// `None` for a model that stays in memory.
    load: Option<Load>,
}

struct State {
    /// The models in memory, by slot.
    residents: Vec<Option<Resident>>,
    /// Restarts of engines that have been unloaded.
    restarts: u64,
}

/// A model in memory.
struct Resident {
    engine: Engine,
    grammars: Arc<Grammars>,
    /// Requests that use it.
    running: usize,
    /// When the last request began or ended.
    used: Instant,
    keep_alive: KeepAlive,
}

/// A model in memory, for lists.
pub struct Listed {
    pub description: Arc<Description>,
    /// When it leaves memory; `None` if it stays.
    pub expires: Option<Instant>,
    /// Requests that use it.
    pub running: usize,
    /// Full-length requests that its cache holds at the same time.
    pub sequences: usize,
    /// Whether it computes and checks draft tokens.
    pub speculation: bool,
}

/// The use of a model by a request, which keeps it in memory.
pub struct Lease {
    residents: Arc<Residents>,
    slot: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(resident) = &mut self.residents.state().residents[self.slot] {
            resident.running -= 1;
            resident.used = Instant::now();
        }
        self.residents.changed.notify_one();
    }
}

impl Resident {
    fn new(engine: Engine, keep_alive: KeepAlive) -> sterna::Result<Self> {
        if let Some(warning) = engine.warning() {
            tracing::warn!("{warning}");
        }
        for remark in engine.remarks() {
            tracing::info!("{remark}");
        }
        let grammars = Arc::new(Grammars::new(&engine)?);
        Ok(Self { engine, grammars, running: 0, used: Instant::now(), keep_alive })
    }

    /// When it leaves memory unless another request comes; `None` if it stays.
    fn expires(&self) -> Option<Instant> {
        match self.keep_alive {
            KeepAlive::For(time) if self.running > 0 => Instant::now().checked_add(time),
            KeepAlive::For(time) => self.used.checked_add(time),
            KeepAlive::Forever => None,
        }
    }

    fn is_expired(&self) -> bool {
        self.running == 0 && self.expires().is_some_and(|at| at <= Instant::now())
    }

    /// Frees the memory; returns once it is free.
    fn unload(self, name: &str) {
        drop(self.grammars);
        self.engine.close();
        tracing::info!(model = name, "unloaded");
    }
}

impl Residents {
    /// The models of a server. The one in memory from the start, or else an only one, is the default.
    ///
    /// # Errors
    /// For a loaded model without a tokenizer, no model at all, and two of one name.
    pub fn new(models: Models, settings: &Settings) -> Result<Arc<Self>, Error> {
        if models.is_empty() {
            return Err(Error::Settings("there is no model to serve".into()));
        }
        let (mut slots, mut residents) = (Vec::new(), Vec::new());
        if let Some(engine) = models.loaded {
            let description = Arc::new(Description::of_engine(settings.model.clone(), &engine));
            slots.push(Slot { description, load: None });
            residents.push(Some(Resident::new(engine, KeepAlive::Forever)?));
        }
        for Found { description, load } in models.found {
            if slots.iter().any(|slot| slot.description.name == description.name) {
                let name = &description.name;
                return Err(Error::Settings(format!("two models have the name {name:?}: use another --model-name")));
            }
            slots.push(Slot { description, load: Some(load) });
            residents.push(None);
        }
        let default = (slots[0].load.is_none() || slots.len() == 1).then_some(0);
        let used: u64 = slots.iter().filter(|slot| slot.load.is_none()).map(|slot| slot.description.memory).sum();
        Ok(Arc::new(Self {
            slots,
            default,
            bound: settings.memory.or_else(|| Some(available()?.saturating_add(used))),
            keep_alive: settings.keep_alive,
            turn: Arc::default(),
            state: Mutex::new(State { residents, restarts: 0 }),
            changed: Notify::new(),
            watched: AtomicBool::new(false),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of the model that a request names, or of the default if it names none (an empty name is none).
    ///
    /// # Errors
    /// 404 for a name that no model has, 400 without a name if there is no default.
    fn slot(&self, name: Option<&str>) -> Result<usize, ApiError> {
        let named = |name: &str| self.slots.iter().position(|slot| slot.description.name == name);
        match name.filter(|name| !name.is_empty()) {
            Some(name) => named(name)
                .or_else(|| named(name.strip_suffix(":latest")?))
                .ok_or_else(|| ApiError::model(name, &self.names())),
            None => self.default.ok_or_else(|| ApiError::no_model(&self.names())),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.slots.iter().map(|slot| &*slot.description.name).collect()
    }

    /// The description of the model that a request names, which need not be in memory.
    ///
    /// # Errors
    /// Those of a name that no model has, or that is missing.
    pub fn description(&self, name: Option<&str>) -> Result<Arc<Description>, ApiError> {
        Ok(self.slots[self.slot(name)?].description.clone())
    }

    /// Reads from the engine of the model that a request names, if it is in memory. This does not count as a use of it.
    ///
    /// # Errors
    /// Those of a name that no model has, or that is missing.
    pub fn read<T>(&self, name: Option<&str>, read: impl FnOnce(&Engine) -> T) -> Result<Option<T>, ApiError> {
        let slot = self.slot(name)?;
        Ok(self.state().residents[slot].as_ref().map(|resident| read(&resident.engine)))
    }

    /// The descriptions of all models.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Description>> {
        self.slots.iter().map(|slot| &slot.description)
    }

    /// The models in memory, without those that are about to leave it.
    pub fn listed(&self) -> Vec<Listed> {
        let state = self.state();
        let residents = self.slots.iter().zip(&state.residents);
        let residents = residents.filter_map(|(slot, resident)| Some((slot, resident.as_ref()?)));
        let residents = residents.filter(|(_, resident)| !resident.is_expired());
        let listed = |(slot, resident): (&Slot, &Resident)| Listed {
            description: slot.description.clone(),
            expires: resident.expires(),
            running: resident.running,
            sequences: resident.engine.sequences(),
            speculation: resident.engine.speculation(),
        };
        residents.map(listed).collect()
    }

    /// Whether the engines of all models in memory serve requests, and how often engines have restarted.
    pub fn health(&self) -> (bool, u64) {
        let state = self.state();
        let healths = state.residents.iter().flatten().map(|resident| resident.engine.health());
        healths.fold((true, state.restarts), |(up, restarts), health| (up && health.up, restarts + health.restarts))
    }

    /// The model that a request names, loaded if it is not in memory. After the request it stays for `keep_alive`, if that
    /// is shorter than the server's setting.
    ///
    /// # Errors
    /// Those of a name that no model has, or that is missing. 503 if the model must be loaded and the queue is full or the
    /// memory is taken; 500 if it cannot be loaded.
    pub async fn get(
        self: &Arc<Self>,
        name: Option<&str>,
        keep_alive: Option<KeepAlive>,
        (metrics, queue): (&Metrics, usize),
    ) -> Result<Arc<Model>, ApiError> {
        let slot = self.slot(name)?;
        if let Some(model) = self.lease(slot, keep_alive) {
            return Ok(model);
        }
        let _waiting = metrics.wait(queue)?;
        let residents = self.clone();
        self.in_turn(async move { residents.load(slot, keep_alive).await }).await?
    }

    /// Unloads the model that a request names, once its running requests have ended. Returns whether it does: a model that
    /// was loaded at the start stays.
    ///
    /// # Errors
    /// Those of a name that no model has, or that is missing.
    pub async fn unload(self: &Arc<Self>, name: Option<&str>) -> Result<bool, ApiError> {
        let slot = self.slot(name)?;
        if self.slots[slot].load.is_none() {
            return Ok(false);
        }
        let residents = self.clone();
        let unload = async move {
            if let Some(resident) = &mut residents.state().residents[slot] {
                resident.keep_alive = KeepAlive::NONE;
            }
            let leaving = residents.take(|each, resident| each == slot && resident.running == 0);
            residents.unload_all(leaving).await
        };
        self.in_turn(unload).await??;
        Ok(true)
    }

    /// Runs work that loads or unloads models when nothing else does. It goes on if its request ends.
    async fn in_turn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, ApiError> {
        let turn = self.turn.clone().lock_owned().await;
        let work = async move {
            let result = work.await;
            drop(turn);
            result
        };
        tokio::spawn(work).await.map_err(|_| ApiError::internal())
    }

    /// A lease of a model that is in memory.
    fn lease(self: &Arc<Self>, slot: usize, keep_alive: Option<KeepAlive>) -> Option<Arc<Model>> {
        let mut state = self.state();
        let resident = state.residents[slot].as_mut()?;
        let Slot { description, load } = &self.slots[slot];
        if load.is_some() {
            // An engine that stopped is loaded anew.
            if resident.running == 0 && !resident.engine.health().up {
                return None;
            }
            resident.keep_alive = keep_alive.map_or(self.keep_alive, |asked| asked.min(self.keep_alive));
        }
        resident.running += 1;
        resident.used = Instant::now();
        let lease = Lease { residents: self.clone(), slot };
        Some(Arc::new(Model::new(description.clone(), resident.engine.clone(), resident.grammars.clone(), lease)))
    }

    /// Loads a model, after unloading others if it needs their memory. Called in turn.
    async fn load(self: &Arc<Self>, slot: usize, keep_alive: Option<KeepAlive>) -> Result<Arc<Model>, ApiError> {
        let stopped = |resident: &Resident| resident.running == 0 && !resident.engine.health().up;
        self.unload_all(self.take(|each, resident| each == slot && stopped(resident))).await?;
        // Another request may have loaded it meanwhile.
        if let Some(model) = self.lease(slot, keep_alive) {
            return Ok(model);
        }
        let longest_unused = self.room_for(slot)?;
        self.unload_all(self.take(|each, resident| longest_unused.contains(&each) && resident.running == 0)).await?;
        let residents = self.clone();
        let load = move || {
            let Slot { description, load: Some(load) } = &residents.slots[slot] else {
                return Err(sterna::Error::EngineStopped);
            };
            let resident = Resident::new(load()?, residents.keep_alive)?;
            let seconds = resident.engine.load_seconds();
            tracing::info!(model = description.name, seconds, memory_mib = description.memory >> 20, "loaded");
            Ok(resident)
        };
        let name = &self.slots[slot].description.name;
        let resident = tokio::task::spawn_blocking(load).await.map_err(|_| ApiError::internal())?.map_err(|error| {
            tracing::error!(model = name, %error, "loading failed");
            ApiError::load(name, &error)
        })?;
        self.state().residents[slot] = Some(resident);
        self.watch();
        self.lease(slot, keep_alive).ok_or_else(|| sterna::Error::EngineStopped.into())
    }

    /// The idle models to unload before a model is loaded, longest unused first.
    ///
    /// # Errors
    /// 503 if the memory does not suffice, even without all of them.
    fn room_for(&self, slot: usize) -> Result<Vec<usize>, ApiError> {
        let need = self.slots[slot].description.memory;
        let state = self.state();
        let resident = |slot: usize| state.residents[slot].as_ref().map(|resident| (slot, resident));
        let residents: Vec<(usize, &Resident)> = (0..self.slots.len()).filter_map(resident).collect();
        let size = |slot: usize| self.slots[slot].description.memory;
        let used: u64 = residents.iter().map(|(slot, _)| size(*slot)).sum();
        let free = [self.bound.map(|bound| bound.saturating_sub(used)), available()];
        let mut free = free.into_iter().flatten().min().unwrap_or(u64::MAX);
        let (mut idle, busy): (Vec<_>, Vec<_>) = residents
            .into_iter()
            .filter(|(slot, _)| self.slots[*slot].load.is_some())
            .partition(|(_, r)| r.running == 0);
        idle.sort_by_key(|(_, resident)| resident.used);
        let mut leaving = Vec::new();
        let mut idle = idle.into_iter();
        while free < need {
            let Some((slot, _)) = idle.next() else { break };
            free = free.saturating_add(size(slot));
            leaving.push(slot);
        }
        if free >= need {
            return Ok(leaving);
        }
        let busy: Vec<&str> = busy.iter().map(|(slot, _)| &*self.slots[*slot].description.name).collect();
        Err(ApiError::no_memory(&self.slots[slot].description.name, (need, free), &busy))
    }

    /// Takes models out of the list of those in memory.
    fn take(&self, leaves: impl Fn(usize, &Resident) -> bool) -> Vec<(usize, Resident)> {
        let mut state = self.state();
        let State { residents, restarts } = &mut *state;
        let taken = residents.iter_mut().enumerate().filter_map(|(slot, resident)| {
            Some((slot, resident.take_if(|resident| self.slots[slot].load.is_some() && leaves(slot, resident))?))
        });
        let taken: Vec<_> = taken.collect();
        *restarts += taken.iter().map(|(_, resident)| resident.engine.health().restarts).sum::<u64>();
        taken
    }

    /// Frees the memory of models that were taken out of the list.
    async fn unload_all(self: &Arc<Self>, leaving: Vec<(usize, Resident)>) -> Result<(), ApiError> {
        if leaving.is_empty() {
            return Ok(());
        }
        let residents = self.clone();
        let unload = move || {
            for (slot, resident) in leaving {
                resident.unload(&residents.slots[slot].description.name);
            }
        };
        tokio::task::spawn_blocking(unload).await.map_err(|_| ApiError::internal())
    }

    /// Starts the task that unloads idle models, unless it runs.
    fn watch(self: &Arc<Self>) {
        self.changed.notify_one();
        if !self.watched.swap(true, Relaxed) {
            tokio::spawn(unload_idle(self.clone()));
        }
    }

    /// When the next idle model leaves memory.
    fn next_expiry(&self) -> Option<Instant> {
        let state = self.state();
        let models = self.slots.iter().zip(&state.residents).filter(|(slot, _)| slot.load.is_some());
        let idle = models.filter_map(|(_, resident)| resident.as_ref().filter(|resident| resident.running == 0));
        idle.filter_map(Resident::expires).min()
    }
}

/// Unloads models when their time is over.
async fn unload_idle(residents: Arc<Residents>) {
    loop {
        let changed = residents.changed.notified();
        match residents.next_expiry() {
            None => changed.await,
            Some(at) if at > Instant::now() => {
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = changed => {}
                }
            }
            Some(_) => {
                let _turn = residents.turn.lock().await;
                let leaving = residents.take(|_, resident| resident.is_expired());
                // Errors are panics, which are logged.
                let _ = residents.unload_all(leaving).await;
            }
        }
    }
}

/// Memory that the models may still take without swapping; `None` where it cannot be read.
fn available() -> Option<u64> {
    [memory::available(), limits::address_space_left()].into_iter().flatten().min()
}
