//! The list of what the control port serves in the open: the router, the description at `/openapi.json` and the tests are made from it.

use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::{
    Api, accumulators, aggregated, artifact_runs, artifacts, checkpoint_details, checkpoints, cluster,
    disposal, job_manager, jobs, metrics, openapi, outcome, quorum, rescale, savepoints, sql, subtasks,
    tokens, vertices, workers,
};

use crate::access::Role;

/// Largest body of a call that takes none, or only a few words.
const SMALL: usize = 64 << 10;
/// Largest body with a script: the longest that is taken, with its escapes, and what goes with it.
const SCRIPT: usize = 40 << 20;

/// How long a call's body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLimit {
    /// So many bytes.
    Bytes(usize),
    /// As the options say; the handler reads it as it comes.
    Upload,
}

/// Who answers.
pub enum Answer {
    /// A handler.
    By(fn() -> MethodRouter<Api>),
    /// Nobody: Flink has it, and this says why it is not here and what to use.
    Refusal(&'static str),
}

/// Which member of a quorum answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// The one that leads: the others send the client there.
    Leader,
    /// Whichever is asked: it is about that one, or the same everywhere.
    Any,
}

/// One operation.
pub struct Route {
    /// In lower case.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Query parameters.
    pub parameters: &'static [&'static str],
    /// The status of a good answer.
    pub status: u16,
    /// The schema of the body; empty where none is taken.
    pub body: &'static str,
    /// Its length.
    pub body_max: BodyLimit,
    /// The schema of a good answer; empty where it is no JSON.
    pub schema: &'static str,
    /// What a good answer is.
    pub media: &'static str,
    /// Who gives it.
    pub answer: Answer,
    /// Of which JobManager.
    pub by: Member,
    /// What its caller must be allowed to do.
    pub role: Role,
}

const fn route(
    method: &'static str,
    path: &'static str,
    schema: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Api>,
) -> Route {
    Route {
        method,
        path,
        summary,
        parameters: &[],
        status: 200,
        body: "",
        body_max: BodyLimit::Bytes(SMALL),
        schema,
        media: "application/json",
        answer: Answer::By(handler),
        by: Member::Leader,
        role: Role::Read,
    }
}

/// What runs jobs, ends them, or gives out their rows.
const fn submits(route: Route) -> Route {
    Route { role: Role::Submit, ..route }
}

/// What changes the cluster, or who may come in.
const fn administers(route: Route) -> Route {
    Route { role: Role::Admin, ..route }
}

/// What is about the JobManager that is asked, or the same everywhere.
const fn anywhere(route: Route) -> Route {
    Route { by: Member::Any, ..route }
}

/// What Flink has and this has not.
const fn refused(method: &'static str, path: &'static str, why: &'static str) -> Route {
    Route {
        method,
        path,
        summary: "Refuses what Flink has and this has not, and says what to use.",
        parameters: &[],
        status: 501,
        body: "",
        body_max: BodyLimit::Bytes(SMALL),
        schema: "Error",
        media: "application/json",
        answer: Answer::Refusal(why),
        by: Member::Leader,
        // Whoever may come in may be told that it is not here.
        role: Role::Read,
    }
}

const METRICS: &[&str] = &["get"];
const RUN: &[&str] = &[
    "entry-class",
    "entryClass",
    "program-args",
    "programArg",
    "programArgs",
    "programArgsList",
    "parallelism",
    "savepointPath",
    "allowNonRestoredState",
    "claimMode",
    "restoreMode",
    "jobId",
];
const NO_WORKER_LOG: &str = "a worker's log is not at the JobManager: its process writes it to standard error, on the host and under the process id that `/taskmanagers/{taskmanagerid}` shows";
const NO_JOB_LOG: &str = "logs are not kept by job: `/jobmanager/log` has the JobManager's newest lines";
const NO_RESCALE: &str = "a stream gets another parallelism by `PUT /jobs/{jobid}/resource-requirements`, and how it went from its checkpoints is in `/jobs/{jobid}/checkpoints`";
const NO_APPLICATION: &str =
    "there are no applications: each statement of a script is a job of its own, listed at `/jobs/overview`";
const NO_DATA_SET: &str = "there are no cluster data sets: what a job leaves for others is in its sinks";

#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route("get", "/overview", "Overview", "Returns the cluster in a line.", || get(cluster::overview)),
    anywhere(route("get", "/config", "Config", "Returns what a dashboard needs to know.", || get(cluster::config))),
    administers(route("delete", "/cluster", "Empty", "Stops the JobManager and the workers that it has started.", || delete(cluster::stop))),
    route("get", "/datasets", "DataSets", "Lists the cluster's data sets: there are none.", || get(cluster::data_sets)),
    refused("delete", "/datasets/{datasetid}", NO_DATA_SET),
    refused("get", "/datasets/delete/{triggerid}", NO_DATA_SET),

    anywhere(route("get", "/jobmanager/config", "JobManagerConfig", "Returns the JobManager's options.", || get(job_manager::config))),
    anywhere(route("get", "/jobmanager/environment", "Environment", "Returns what the JobManager's process is.", || get(job_manager::environment))),
    anywhere(route("get", "/jobmanager/logs", "Logs", "Lists the JobManager's logs: the newest lines, which are kept in memory.", || get(job_manager::logs))),
    anywhere(Route { media: "text/plain", ..route("get", "/jobmanager/logs/{logfile}", "", "Returns one of the JobManager's logs.", || get(job_manager::log_file)) }),
    anywhere(Route { media: "text/plain", ..route("get", "/jobmanager/log", "", "Returns the newest lines of the JobManager's log.", || get(job_manager::log)) }),
    refused("get", "/jobmanager/stdout", "the JobManager says nothing on standard output: its log is at `/jobmanager/log`"),
    Route { parameters: METRICS, ..route("get", "/jobmanager/metrics", "Measurements", "Returns what is measured of the JobManager.", || get(job_manager::metrics)) },
    anywhere(route("get", "/jobmanager/thread-dump", "Threads", "Returns the JobManager's threads and what the system says of them.", || get(job_manager::threads))),

    anywhere(route("get", "/quorum", "Quorum", "Returns how the quorum stands, as this member sees it.", || get(quorum::status))),
    administers(anywhere(Route { body: "QuorumMemberAddress", ..route("post", "/quorum/members", "Quorum", "Takes a JobManager into the quorum.", || post(quorum::add)) })),
    administers(anywhere(route("delete", "/quorum/members/{member}", "Quorum", "Removes a JobManager from the quorum.", || delete(quorum::remove)))),

    administers(route("get", "/tokens", "Tokens", "Lists the tokens, without what they are recognised by.", || get(tokens::list))),
    administers(Route { status: 201, body: "TokenRequest", ..route("post", "/tokens", "TokenCreated", "Makes a token; this answer alone shows it.", || post(tokens::create)) }),
    administers(route("delete", "/tokens/{token}", "Empty", "Revokes a token.", || delete(tokens::revoke))),

    route("get", "/jars", "Artifacts", "Lists the uploaded artifacts.", || get(artifacts::list)),
    submits(Route { body: "ArtifactUpload", body_max: BodyLimit::Upload, ..route("post", "/jars/upload", "ArtifactUploaded", "Keeps a SQL script, or an archive of scripts.", || post(artifacts::upload)) }),
    submits(route("delete", "/jars/{jarid}", "Empty", "Removes an artifact.", || delete(artifacts::remove))),
    submits(Route { parameters: RUN, body: "ArtifactRun", ..route("post", "/jars/{jarid}/run", "ArtifactStarted", "Runs a script of an artifact.", || post(artifact_runs::run)) }),
    submits(Route { parameters: RUN, body: "ArtifactRun", ..route("post", "/jars/{jarid}/plan", "JobPlan", "Returns the plan of the first job of an artifact's script, and runs nothing.", || post(artifact_runs::plan)) }),
    refused("post", "/jars/{jarid}/run-application", NO_APPLICATION),

    route("get", "/jobs", "Jobs", "Lists the jobs' ids and states.", || get(jobs::list)),
    refused("post", "/jobs", "a job graph of Flink's is made of JVM classes, which do not run here: send SQL to `/sql/jobs`, or upload it to `/jars/upload`"),
    route("get", "/jobs/overview", "JobsOverview", "Lists the jobs, a line each.", || get(jobs::overview)),
    Route { parameters: &["get", "agg", "jobs"], ..route("get", "/jobs/metrics", "AggregatedMetrics", "Returns what is measured of jobs, together.", || get(aggregated::of_jobs)) },
    route("get", "/jobs/{jobid}", "Job", "Returns all about a job.", || get(jobs::details)),
    submits(Route { parameters: &["mode"], status: 202, ..route("patch", "/jobs/{jobid}", "Empty", "Cancels a job.", || patch(jobs::cancel)) }),
    route("get", "/jobs/{jobid}/status", "JobStatus", "Returns a job's state.", || get(jobs::status)),
    route("get", "/jobs/{jobid}/plan", "JobPlan", "Returns a job's plan.", || get(jobs::plan)),
    route("get", "/jobs/{jobid}/config", "JobConfig", "Returns a job's options.", || get(jobs::config)),
    Route { parameters: &["maxExceptions", "failureLabelFilter"], ..route("get", "/jobs/{jobid}/exceptions", "JobExceptions", "Returns the failures that a job met.", || get(jobs::exceptions)) },
    route("get", "/jobs/{jobid}/execution-result", "ExecutionResult", "Returns how a job has ended.", || get(outcome::execution_result)),
    Route { parameters: &["includeSerializedValue"], ..route("get", "/jobs/{jobid}/accumulators", "JobAccumulators", "Returns a job's accumulators: there are none.", || get(accumulators::of_job)) },
    Route { parameters: METRICS, ..route("get", "/jobs/{jobid}/metrics", "Measurements", "Returns what is measured of a job.", || get(metrics::of_job)) },
    Route { parameters: &["timeout"], ..route("get", "/jobs/{jobid}/wait", "JobEnd", "Waits for a job's end.", || get(jobs::wait)) },
    Route { media: "text/event-stream", ..route("get", "/jobs/{jobid}/progress", "", "Streams a job's progress as server-sent events until its end.", || get(jobs::progress)) },
    route("get", "/jobs/{jobid}/event-time", "EventTime", "Returns how far event time has come in each vertex and what holds it back.", || get(metrics::event_time)),
    route("get", "/jobs/{jobid}/jobmanager/config", "JobManagerConfig", "Returns the options of a job's JobManager.", || get(job_manager::config_of_job)),
    route("get", "/jobs/{jobid}/jobmanager/environment", "Environment", "Returns what the process of a job's JobManager is.", || get(job_manager::environment_of_job)),
    refused("get", "/jobs/{jobid}/jobmanager/log-url", NO_JOB_LOG),
    refused("get", "/jobs/{jobid}/taskmanagers/{taskmanagerid}/log-url", NO_WORKER_LOG),
    refused("patch", "/jobs/{jobid}/clientHeartbeat", "a job does not end because its client does: cancel it with `PATCH /jobs/{jobid}`"),
    route("get", "/jobs/{jobid}/resource-requirements", "ResourceRequirements", "Returns how many subtasks a job's vertices have.", || get(rescale::requirements)),
    submits(Route { body: "ResourceRequirements", ..route("put", "/jobs/{jobid}/resource-requirements", "Empty", "Lets a stream go on at another parallelism.", || put(rescale::require)) }),
    refused("patch", "/jobs/{jobid}/rescaling", NO_RESCALE),
    refused("get", "/jobs/{jobid}/rescaling/{triggerid}", NO_RESCALE),
    refused("get", "/jobs/{jobid}/rescales/overview", NO_RESCALE),
    refused("get", "/jobs/{jobid}/rescales/history", NO_RESCALE),
    refused("get", "/jobs/{jobid}/rescales/summary", NO_RESCALE),
    refused("get", "/jobs/{jobid}/rescales/details/{uuid}", NO_RESCALE),

    route("get", "/jobs/{jobid}/checkpoints", "Checkpoints", "Returns a stream's checkpoints, the newest first.", || get(checkpoints::list)),
    submits(Route { status: 202, body: "CheckpointRequest", ..route("post", "/jobs/{jobid}/checkpoints", "Triggered", "Takes a checkpoint now.", || post(checkpoints::trigger)) }),
    route("get", "/jobs/{jobid}/checkpoints/config", "CheckpointConfig", "Returns how a stream takes checkpoints.", || get(checkpoints::config)),
    route("get", "/jobs/{jobid}/checkpoints/details/{checkpointid}", "Checkpoint", "Returns one of a stream's newest checkpoints.", || get(checkpoint_details::of_checkpoint)),
    route("get", "/jobs/{jobid}/checkpoints/details/{checkpointid}/subtasks/{vertexid}", "CheckpointSubtasks", "Returns how a checkpoint went for the subtasks of a vertex.", || get(checkpoint_details::of_vertex)),
    route("get", "/jobs/{jobid}/checkpoints/{triggerid}", "TriggerStatus", "Returns how a checkpoint that was asked for stands.", || get(savepoints::status)),
    submits(Route { status: 202, body: "SavepointRequest", ..route("post", "/jobs/{jobid}/savepoints", "Triggered", "Takes a savepoint.", || post(savepoints::trigger)) }),
    route("get", "/jobs/{jobid}/savepoints/{triggerid}", "TriggerStatus", "Returns how a savepoint that was asked for stands.", || get(savepoints::status)),
    submits(Route { status: 202, body: "StopRequest", ..route("post", "/jobs/{jobid}/stop", "Triggered", "Takes a savepoint and ends the job behind it.", || post(savepoints::stop)) }),
    submits(Route { body: "DisposalRequest", ..route("post", "/savepoint-disposal", "Triggered", "Removes a savepoint with all its files.", || post(disposal::trigger)) }),
    route("get", "/savepoint-disposal/{triggerid}", "TriggerStatus", "Returns how the removal of a savepoint stands.", || get(disposal::status)),

    route("get", "/jobs/{jobid}/vertices/{vertexid}", "Vertex", "Returns a vertex with its subtasks.", || get(vertices::details)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/accumulators", "VertexAccumulators", "Returns a vertex's accumulators: there are none.", || get(accumulators::of_vertex)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/backpressure", "Backpressure", "Returns how much of their time a vertex's subtasks wait for their consumers.", || get(metrics::backpressure)),
    refused("get", "/jobs/{jobid}/vertices/{vertexid}/flamegraph", "stacks are not sampled: point a profiler such as `perf` at the worker's process, whose host and id `/taskmanagers/{taskmanagerid}` shows"),
    Route { parameters: METRICS, ..route("get", "/jobs/{jobid}/vertices/{vertexid}/metrics", "Measurements", "Returns what is measured of a vertex, each subtask by itself.", || get(metrics::of_vertex)) },
    Route { parameters: METRICS, ..route("get", "/jobs/{jobid}/vertices/{vertexid}/jm-operator-metrics", "Measurements", "Returns what is measured of a vertex at the JobManager: nothing.", || get(vertices::metrics_at_job_manager)) },
    route("get", "/jobs/{jobid}/vertices/{vertexid}/watermarks", "Measurements", "Returns the watermarks of a vertex's subtasks.", || get(metrics::watermarks)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/taskmanagers", "VertexWorkers", "Returns a vertex's subtasks by worker.", || get(vertices::by_worker)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasktimes", "SubtaskTimes", "Returns when a vertex's subtasks were deployed and when they ended.", || get(subtasks::times)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/accumulators", "SubtasksAccumulators", "Returns the accumulators of a vertex's subtasks: there are none.", || get(accumulators::of_subtasks)),
    Route { parameters: &["get", "agg", "subtasks"], ..route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/metrics", "AggregatedMetrics", "Returns what is measured of a vertex, its subtasks together.", || get(aggregated::of_subtasks)) },
    route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}", "Subtask", "Returns a subtask's current attempt.", || get(subtasks::current)),
    Route { parameters: METRICS, ..route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/metrics", "Measurements", "Returns what is measured of a subtask.", || get(metrics::of_subtask)) },
    route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/attempts/{attempt}", "Subtask", "Returns one attempt of a subtask: the current one, the others are not kept.", || get(subtasks::attempt)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/attempts/{attempt}/accumulators", "AttemptAccumulators", "Returns the accumulators of an attempt: there are none.", || get(accumulators::of_attempt)),

    route("get", "/taskmanagers", "Workers", "Lists the workers.", || get(workers::list)),
    Route { parameters: &["get", "agg", "taskmanagers"], ..route("get", "/taskmanagers/metrics", "AggregatedMetrics", "Returns what is measured of workers, together.", || get(aggregated::of_workers)) },
    route("get", "/taskmanagers/{taskmanagerid}", "Worker", "Returns one worker.", || get(workers::details)),
    Route { parameters: METRICS, ..route("get", "/taskmanagers/{taskmanagerid}/metrics", "Measurements", "Returns what is measured of a worker.", || get(workers::metrics)) },
    refused("get", "/taskmanagers/{taskmanagerid}/logs", NO_WORKER_LOG),
    refused("get", "/taskmanagers/{taskmanagerid}/logs/{logfile}", NO_WORKER_LOG),
    refused("get", "/taskmanagers/{taskmanagerid}/log", NO_WORKER_LOG),
    refused("get", "/taskmanagers/{taskmanagerid}/stdout", NO_WORKER_LOG),
    refused("get", "/taskmanagers/{taskmanagerid}/thread-dump", "a worker's threads are not told to the JobManager: look at its process on the host that `/taskmanagers/{taskmanagerid}` shows"),

    refused("get", "/applications/overview", NO_APPLICATION),
    refused("get", "/applications/{applicationid}", NO_APPLICATION),
    refused("post", "/applications/{applicationid}/cancel", NO_APPLICATION),
    refused("get", "/applications/{applicationid}/exceptions", NO_APPLICATION),
    refused("get", "/applications/{applicationid}/jobmanager/config", NO_APPLICATION),

    submits(Route { status: 202, body: "ScriptRequest", body_max: BodyLimit::Bytes(SCRIPT), ..route("post", "/sql/jobs", "ScriptAccepted", "Runs a SQL script.", || post(sql::submit)) }),
    submits(Route { parameters: &["token", "format"], ..route("get", "/sql/jobs/{jobid}/result", "ResultPage", "Returns a page of a query's rows, or all as an Arrow IPC stream.", || get(sql::result)) }),
    anywhere(route("get", "/openapi.json", "Description", "Returns this description.", || get(openapi::serve))),
];
