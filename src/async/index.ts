/**
 * The job layer: queues, jobs, agents and dispatchers.
 *
 * @packageDocumentation
 */

// Gives jobs what they need to run.
import './perform.js';

export { Agent, type AgentOptions, type JobChooser } from './agent.js';
export type { ArgumentList } from './argument-list.js';
export { CombinedJob, type CombineOptions, parallel, serial } from './combine.js';
export type { CompletedJobs } from './completed-jobs.js';
export { configure, DispatcherInstaller, type DispatcherInstallerOptions, type StartOptions } from './configure.js';
export { Dispatcher, type DispatcherOptions, type DispatcherStatus } from './dispatcher.js';
export { DispatcherAgents, type Dispatchers } from './dispatcher-agents.js';
export type {
  AgentPoll,
  JobId,
  JobInfo,
  PollFilter,
  PollInfo,
  Statistics,
  When,
} from './dispatcher-records.js';
export {
  AbortedError,
  AlreadyRegisteredError,
  BadStatusError,
  NoQueueError,
  NotActivatedError,
  ReassignedError,
  TimeoutError,
  UnknownQuotaError,
} from './errors.js';
export { Events, events, type JobLayerEventName, type JobLayerEvents, type JobLayerListener } from './events.js';
export { Failure, type TracebackDetail } from './failure.js';
export {
  AgentInstaller,
  type AgentInstallerOptions,
  installQueues,
  QueueInstaller,
  type QueueInstallerOptions,
} from './installers.js';
export { type HeldInstanceUuid, holdInstanceUuid, instanceUuid } from './instance-uuid.js';
export {
  type ArgumentsOf,
  type Callable,
  type CallbackOptions,
  CallbackProxy,
  Job,
  type JobFunction,
  type ResultOf,
} from './job.js';
export { importJobModule } from './job-modules.js';
export { type LiveAnnotationOptions, local } from './local.js';
export { Method, type MethodName, method } from './method.js';
export type { PoolKind } from './pool/worker-pool.js';
export { EntryModuleError, JobModuleError, UuidFileError, UuidInUseError } from './process-errors.js';
export { getDefaultQueue, getQueue, type JobFilter, type PutOptions, Queue, Queues, queuesOf } from './queue.js';
export type { Quota, Quotas } from './quota.js';
export {
  NeverRetry,
  RetryAfter,
  type RetryAnswer,
  type RetryCache,
  RetryCommonForever,
  RetryCommonFourTimes,
  type RetryPolicy,
  type RetryPolicyFactory,
  registerRetryPolicy,
} from './retry-policy.js';
export { ACTIVE, ASSIGNED, CALLBACKS, COMPLETED, type JobStatus, NEW, PENDING } from './status.js';
