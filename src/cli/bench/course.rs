//! One run: readers connect, events are published and counted for a time, what is under way may still come, and then
//! everything is judged.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::carriage::{Carriage, Transport};
use super::cpu;
use super::latch::Latch;
use super::line::{Line, Lines, Shared};
use super::publisher::{Outcome, Schedule, publish};
use super::reader::{PATIENCE, Reading, fit};
use super::report::told;
use super::tally::{Counts, Judge};
use super::worker::{Crew, Worker};
use crate::cli::CliError;
use crate::cli::console::Console;
use crate::cli::progress::{rate, took};
use crate::cli::stop::Stop;
use crate::cli::wire::dial::{Dialer, Traffic};
use crate::cli::wire::target::Target;
use crate::cli::wire::trouble::Trouble;

/// What is asked of each run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    /// What to trust in place of the system's certificates.
    pub(super) ca: Option<PathBuf>,
    pub(super) connections: usize,
    /// Connections a second.
    pub(super) connect_rate: f64,
    pub(super) duration: Duration,
    /// How long events may take that are still missing when the time is over.
    pub(super) wait: Duration,
    /// Of polls that name none.
    pub(super) interval: Duration,
    pub(super) publishing: Option<Publishing>,
    /// How many streams share an HTTP/2 connection; `None` over HTTP/1.1.
    pub(super) streams: Option<usize>,
    pub(super) threads: usize,
    /// The server's process, on this machine.
    pub(super) pid: Option<u32>,
}

/// What is published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publishing {
    /// Events a second.
    pub(super) rate: f64,
    pub(super) publishers: u32,
    pub(super) bytes: usize,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) carriage: Carriage,
    pub(super) counts: Counts,
    /// What the time of measuring cost.
    pub(super) cost: Cost,
    /// What was published, and how many events had been due.
    pub(super) publishing: Option<(Outcome, u64)>,
    /// Deliveries that did not come about.
    pub(super) lost: u64,
    /// How many readers were connected at its end.
    pub(super) open: usize,
}

/// What was spent, and come by, from one moment to another.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) time: Duration,
    pub(super) events: u64,
    pub(super) requests: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    /// Of this process.
    pub(super) client: Duration,
    pub(super) server: Option<Duration>,
}

/// How long missing events may take at most after an interruption: somebody waits.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// A run while it lasts.
struct Course<'a> {
    plan: &'a Plan,
    workers: Vec<Worker>,
    dialer: Arc<Dialer>,
    traffic: Arc<Traffic>,
    outcome: Arc<Mutex<Outcome>>,
    console: &'a mut Console,
    origin: Instant,
    /// What was published until now, and when that was told.
    told: (u64, Instant),
}

/// Runs once over a transport.
///
/// # Errors
/// The first stream could not be opened, no reader could connect, or the server refuses what is published.
pub(super) async fn run(
    plan: &Plan,
    carriage: Carriage,
    console: &mut Console,
    stop: &mut Stop<'_, impl Future<Output = ()>>,
) -> Result<Run, CliError> {
    let interval = carriage.interval.unwrap_or(plan.interval);
    let is_poll = carriage.transport == Transport::Poll;
    let version = if plan.streams.is_some() { "h2" } else { "http/1.1" };
    let dialer = Arc::new(Dialer::new(plan.target.url(), &[version], plan.ca.as_deref()).await?);
    let probed = stop.cuts(probe(plan, carriage.transport, &dialer)).await.ok_or(CliError::Interrupted)??;
    // A state is read as it is; the others begin where the log ends now, so that a reader that comes late misses nothing.
    let start = if plan.publishing.is_some() && !carriage.transport.is_state() { probed } else { String::new() };
    let reading = Reading { target: plan.target.clone(), transport: carriage.transport, interval, start };
    let run = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    let tried = Arc::new(Latch::new(plan.connections));
    let mut course = Course::start(plan, Arc::new(reading), run, &tried, dialer, console)?;
    course.tell_while(stop, tried.wait()).await;
    let before = course.cost()?;
    let due = course.publish(run, stop).await;
    let cost = course.cost()?.since(&before);
    course.rest(stop, if is_poll { plan.wait + interval } else { plan.wait }).await;
    let (outcome, counts) = (course.outcome(), course.counts());
    let lost = course.workers.iter().map(|worker| worker.tally().lost(&outcome.published)).sum();
    let open = course.open();
    course.workers.into_iter().for_each(Worker::stop);
    if let Some(mut problem) = outcome.refused {
        if problem.status == 401 && !plan.target.has_credentials() {
            problem.detail = "publishing needs the gateway's key: ENCKE_PUBLISH_KEY, or --publish-key-file".into();
        }
        return Err(CliError::Refused(problem));
    }
    if counts.opened == 0 && !counts.failed.is_empty() {
        return Err(CliError::Failed(format!("no reader could connect: {}", told(&counts.failed))));
    }
    let carriage = Carriage { interval: is_poll.then_some(interval), ..carriage };
    Ok(Run { carriage, counts, cost, publishing: due.map(|due| (outcome, due)), lost, open })
}

/// Opens a stream as the readers will, to hear what is wrong before thousands do; gives where it begins, if the server says.
async fn probe(plan: &Plan, transport: Transport, dialer: &Arc<Dialer>) -> Result<String, CliError> {
    let mut line = line(plan, &Lines { dialer: dialer.clone(), traffic: Arc::default() });
    let answer = line.send(plan.target.open(transport, ""), PATIENCE).await;
    let away = |trouble: Trouble| CliError::Failed(format!("{trouble} ({})", plan.target.place()));
    let mut answer = answer.map_err(away)?;
    fit(&plan.target, transport, &mut answer).await.map_err(|(_, problem)| CliError::Refused(problem))?;
    Ok(answer.head.cursor.unwrap_or_default())
}

/// A way to the server for one.
fn line(plan: &Plan, lines: &Lines) -> Line {
    match plan.streams {
        None => Line::Http1(lines.clone(), None),
        Some(_) => Line::Http2(Arc::new(Shared::new(lines.clone()))),
    }
}

impl<'a> Course<'a> {
    /// Lets the readers begin to connect.
    fn start(
        plan: &'a Plan,
        reading: Arc<Reading>,
        run: u64,
        tried: &Arc<Latch>,
        dialer: Arc<Dialer>,
        console: &'a mut Console,
    ) -> Result<Self, CliError> {
        let (origin, traffic) = (Instant::now(), Arc::new(Traffic::default()));
        let judge = Judge { run: plan.publishing.map(|_| (run, origin)), is_state: reading.transport.is_state() };
        let crew = Crew {
            reading,
            dialer: dialer.clone(),
            traffic: traffic.clone(),
            judge,
            readers: plan.connections,
            threads: plan.threads.min(plan.connections),
            streams: plan.streams,
            began: origin,
            pace: Duration::from_secs_f64(plan.connect_rate.recip()),
            tried: tried.clone(),
        };
        let workers = (0..crew.threads).map(|number| Worker::start(&crew, number)).collect::<Result<_, _>>();
        let workers = workers.map_err(|error| CliError::Failed(format!("cannot start a thread: {error}")))?;
        let publishers = plan.publishing.map_or(0, |publishing| publishing.publishers);
        let outcome = Arc::new(Mutex::new(Outcome::of(publishers)));
        Ok(Self { plan, workers, dialer, traffic, outcome, console, origin, told: (0, origin) })
    }

    /// Lets the time of measuring pass, and publishes what is due in it; gives how much that was.
    async fn publish(&mut self, run: u64, stop: &mut Stop<'_, impl Future<Output = ()>>) -> Option<u64> {
        let duration = self.plan.duration;
        let Some(Publishing { rate, publishers, bytes }) = self.plan.publishing else {
            self.tell_while(stop, sleep(duration)).await;
            return None;
        };
        let schedule = Schedule { run, origin: self.origin, began: Instant::now(), duration, rate, publishers, bytes };
        let target = Arc::new(self.plan.target.clone());
        let (over, is_over) = watch::channel(false);
        let mut tasks = JoinSet::new();
        if !stop.has_come().await {
            for publisher in 0..publishers {
                // Their bytes are not the readers'.
                let line = line(self.plan, &Lines { dialer: self.dialer.clone(), traffic: Arc::default() });
                let (target, schedule) = (target.clone(), schedule.clone());
                tasks.spawn(publish(target, schedule, publisher, line, self.outcome.clone(), is_over.clone()));
            }
        }
        self.tell_while(stop, sleep(duration)).await;
        over.send_replace(true);
        // Each waits for the answer that it is owed, and that has its own limit.
        while tasks.join_next().await.is_some() {}
        Some(schedule.count())
    }

    /// Lets come what is still under way.
    async fn rest(&mut self, stop: &mut Stop<'_, impl Future<Output = ()>>, most: Duration) {
        let published = Arc::new(self.outcome().published);
        if published.end.is_empty() {
            return;
        }
        let all = Arc::new(Latch::new(self.plan.connections));
        for worker in &self.workers {
            worker.tally().nothing_more(&published, &all);
        }
        if stop.has_come().await {
            let _ = timeout(SHORT_WAIT.min(most), all.wait()).await; // What is not there then is lost.
        } else {
            self.tell_while(stop, timeout(most, all.wait())).await;
        }
    }

    /// Waits, and tells once a second how it goes.
    async fn tell_while<T>(
        &mut self,
        stop: &mut Stop<'_, impl Future<Output = ()>>,
        wait: impl Future<Output = T>,
    ) -> Option<T> {
        let mut wait = std::pin::pin!(wait);
        stop.cuts(async {
            let mut second = interval(Duration::from_secs(1));
            second.set_missed_tick_behavior(MissedTickBehavior::Delay);
            second.tick().await; // The first is at once.
            loop {
                tokio::select! {
                    done = &mut wait => return done,
                    _ = second.tick() => self.tell(),
                }
            }
        })
        .await
    }

    fn tell(&mut self) {
        let (counts, now) = (self.counts(), Instant::now());
        let (before, then) = std::mem::replace(&mut self.told, (counts.events, now));
        let lost: u64 = self.workers.iter().map(|worker| worker.tally().missing()).sum();
        let quantile = |quantile| counts.latency.quantile(quantile).map_or("–".to_owned(), took);
        let text = format!(
            "{:.0} s  {} connected  {}  {lost} missing  p50 {}  p99 {}",
            (now - self.origin).as_secs_f64(),
            self.open(),
            rate(counts.events - before, now - then),
            quantile(0.5),
            quantile(0.99),
        );
        self.console.progress(&text);
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.workers.iter().for_each(|worker| counts.add(&worker.tally().counts));
        counts
    }

    fn open(&self) -> usize {
        self.workers.iter().map(|worker| worker.tally().open()).sum()
    }

    fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that was spent until now.
    fn cost(&self) -> Result<Cost, CliError> {
        let server = self.plan.pid.map(cpu::of).transpose().map_err(CliError::Failed)?;
        let (sent, received) = self.traffic.now();
        let Counts { events, requests, .. } = self.counts();
        Ok(Cost { time: self.origin.elapsed(), events, requests, sent, received, client: cpu::own(), server })
    }
}

impl Cost {
    /// What was spent since then.
    fn since(&self, before: &Self) -> Self {
        Self {
            time: self.time - before.time,
            events: self.events - before.events,
            requests: self.requests - before.requests,
            sent: self.sent - before.sent,
            received: self.received - before.received,
            client: self.client.saturating_sub(before.client),
            server: self.server.zip(before.server).map(|(now, before)| now.saturating_sub(before)),
        }
    }
}
