//! The nodes of a chaos run and their database: started, broken as the schedule says, and healed at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use livery_testkit::Postgres;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::faults::{Due, Fault};
use crate::http::Client;
use crate::matrix::leftovers;
use crate::node::{Keeper, Node, Plan, knows_flag};

/// What all share.
pub struct Cluster {
    plans: Vec<Plan>,
    nodes: Vec<Mutex<Node>>,
    postgres: Option<Arc<Mutex<Postgres>>>,
    keeper: Keeper,
}

impl Cluster {
    /// Starts the nodes: one on SQLite, or several on one Postgres with a shared object folder.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(
        binary: &Path,
        work: &Path,
        nodes: usize,
        postgres: Option<Postgres>,
        keeper: Keeper,
    ) -> anyhow::Result<Self> {
        let mut flags = Vec::new();
        if let Some(postgres) = &postgres {
            let url = blocking(|| postgres.create_database("livery"))?;
            flags = vec!["--database".to_owned(), url];
            if knows_flag(binary, "--objects").await? {
                let objects = work.join("objects");
                make_open(&objects)?;
                flags.extend(["--objects".to_owned(), objects.display().to_string()]);
            }
        }
        let mut plans: Vec<Plan> = Vec::new();
        let mut running = Vec::new();
        for number in 0..nodes {
            let home = work.join(format!("node-{number}"));
            make_open(&home)?;
            let mut plan = Plan::new(binary, &home.join("data"))?;
            plan.flags.extend(flags.iter().cloned());
            if let Some(first) = plans.first() {
                plan.key.clone_from(&first.key);
                share_root_key(first, &plan).await?;
            }
            let mut node = Node::spawn(&plan, &keeper, None)?;
            node.ready().await?;
            if plan.key.is_empty() {
                plan.key = plan.read_key()?;
                node.plan.key.clone_from(&plan.key);
            }
            plans.push(plan);
            running.push(Mutex::new(node));
        }
        let postgres = postgres.map(|postgres| Arc::new(Mutex::new(postgres)));
        Ok(Self { plans, nodes: running, postgres, keeper })
    }

    /// A client for each node.
    pub fn clients(&self) -> Vec<Client> {
        self.plans.iter().map(Plan::client).collect()
    }

    /// Lets everything happen at its time, then waits until all nodes are up.
    ///
    /// # Errors
    /// A node ended by itself or does not come back, or the database does not.
    pub async fn suffer(self: &Arc<Self>, schedule: Vec<Due>, say: fn(&str)) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut under_way = JoinSet::new();
        for due in schedule {
            tokio::time::sleep(due.at.saturating_sub(begun.elapsed())).await;
            say(&format!("{:>6.1} s  {}", begun.elapsed().as_secs_f64(), due.fault));
            let cluster = Arc::clone(self);
            under_way.spawn(async move { cluster.strike(due.fault).await });
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        for node in &self.nodes {
            node.lock().await.ready().await?;
        }
        Ok(())
    }

    async fn strike(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill { node, down } => {
                let mut process = self.nodes.get(node).context("there is no such node")?.lock().await;
                let ended = process.ended()?;
                anyhow::ensure!(ended.is_none(), "node {node} ended by itself: {}", process.last_words());
                process.kill().await?;
                tokio::time::sleep(down).await;
                let plan = process.plan.clone();
                *process = Node::spawn(&plan, &self.keeper, None)?;
                process.ready().await
            }
            Fault::Pause { node, still } => {
                let process = self.nodes.get(node).context("there is no such node")?.lock().await;
                process.signal("STOP").await?;
                tokio::time::sleep(still).await;
                process.signal("CONT").await
            }
            Fault::DatabaseRestart => self.database(Postgres::restart).await,
            Fault::DatabaseKill => {
                self.database(|postgres| {
                    postgres.kill()?;
                    postgres.start_again()
                })
                .await
            }
        }
    }

    async fn database(
        &self,
        what: impl FnOnce(&mut Postgres) -> Result<(), livery_testkit::postgres::Error> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Some(postgres) = self.postgres.clone() else { return Ok(()) };
        let done = tokio::task::spawn_blocking(move || what(&mut postgres.blocking_lock())).await?;
        done.context("the database")
    }

    /// Stops every node in good order, and says what they leave behind.
    ///
    /// # Errors
    /// One does not end well.
    pub async fn stop(self) -> anyhow::Result<Vec<String>> {
        for node in self.nodes {
            node.into_inner().stop().await?;
        }
        let mut left = Vec::new();
        for plan in &self.plans {
            left.extend(leftovers::after_death(&plan.data).await);
        }
        Ok(left)
    }
}

fn blocking<T, E: std::error::Error + Send + Sync + 'static>(call: impl FnOnce() -> Result<T, E>) -> anyhow::Result<T> {
    Ok(tokio::task::block_in_place(call)?)
}

/// Livery leaves root and must still write there.
fn make_open(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))?;
    Ok(())
}

/// Nodes of one database share one vault.
async fn share_root_key(from: &Plan, to: &Plan) -> anyhow::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, chown};
    std::fs::create_dir_all(&to.data)?;
    let owner = std::fs::metadata(&from.data)?;
    chown(&to.data, Some(owner.uid()), Some(owner.gid())).context("giving the data directory away")?;
    let key = from.data.join("root.key");
    let status = tokio::process::Command::new("cp").arg("-a").arg(&key).arg(&to.data).status().await?;
    anyhow::ensure!(status.success(), "the root key cannot be shared");
    Ok(())
}
