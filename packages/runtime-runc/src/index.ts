export { openContainers } from './container/containers.ts'
export type { Containers, ContainersOptions } from './container/containers.ts'
export type { ContainerEvent } from './container/context.ts'
export type { CreateOptions } from './container/create.ts'
export type { ExecResult } from './container/exec.ts'
export { readHostFacts } from './container/host.ts'
export type { ContainerPhase, ContainerRecord } from './container/record.ts'
export { createRunc, RuncError } from './runc.ts'
export type { Runc, RuncErrorCode, RuncOptions, RuncState } from './runc.ts'
export { openHandlers } from './handlers.ts'
export type { CgroupDriver, Handler, HandlerOptions, Handlers, HandlersOptions } from './handlers.ts'
export { createMonitored } from './conmon.ts'
export { reopenLog } from './reopen-log.ts'
export type { ConmonOptions, Monitored } from './conmon.ts'
export type { ProcessRef } from './pids.ts'
export { buildSpec } from './spec/build.ts'
export type { SpecInput } from './spec/build.ts'
export { SpecError } from './spec/errors.ts'
export type {
  ContainerFacts,
  HandlerFacts,
  HostFacts,
  ImageConfig,
  SandboxFacts,
  SourcePropagation,
} from './spec/facts.ts'
export type { OciDevice, OciMount, OciNamespace, OciProcess, OciResources, OciSeccomp, OciSpec } from './spec/oci.ts'
export { resolveUser } from './spec/users.ts'
export type { ResolvedUser } from './spec/users.ts'
export { openImages } from './image/images.ts'
export type { Images, ImagesOptions, PullOptions } from './image/images-api.ts'
export type { ExportOptions } from './image/export.ts'
export type { Progress } from './image/pull.ts'
export type { LayerLimits } from './snapshot/limits.ts'
export type { UnpackerOptions } from './snapshot/unpacker.ts'
export { parseReference, printReference } from './image/reference.ts'
export type { Reference } from './image/reference.ts'
export type { ImageRecord } from './image/store.ts'
export { createStreamAdapters } from './streaming/adapters.ts'
export type { StreamAdapterOptions } from './streaming/adapters.ts'
export { openStreaming } from './streaming/server.ts'
export type { Streaming, StreamingOptions } from './streaming/server.ts'
export type {
  AttachStreamRequest,
  ExecStreamRequest,
  PortForwardStreamRequest,
  StreamAdapters,
  StreamIO,
} from './streaming/types.ts'
export { openRuntime, serveRuntime } from './daemon.ts'
export type { Runtime, RuntimeOptions, StreamBackend } from './daemon.ts'
export { openRunner } from './runner/runner.ts'
export type { RunCommandOptions, Runner, RunnerOptions } from './runner/runner.ts'
export type { RunOptions } from './runner/config.ts'
export type { RunEnd, RunningContainer, RunResult } from './runner/container.ts'
export type { Output } from './runner/output.ts'
