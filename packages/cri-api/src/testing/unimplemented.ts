// The calls that need a process, a file or a cgroup, which a runtime in memory has not.
import { CriError } from '../errors.ts'
import type { RuntimeService } from '../services.ts'

const refusal = (rpc: string) =>
  new CriError('UNIMPLEMENTED', `${rpc}: the runtime in memory runs no processes; test it with a real runtime`)
const refuse = (rpc: string) => () => Promise.reject(refusal(rpc))
const refuseStream = (rpc: string) => (): AsyncIterable<never> => ({
  [Symbol.asyncIterator]: () => ({ next: refuse(rpc) }),
})

export const unimplementedCalls: Pick<
  RuntimeService,
  | 'reopenContainerLog'
  | 'execSync'
  | 'exec'
  | 'attach'
  | 'portForward'
  | 'containerStats'
  | 'listContainerStats'
  | 'streamContainerStats'
  | 'podSandboxStats'
  | 'listPodSandboxStats'
  | 'streamPodSandboxStats'
  | 'checkpointContainer'
  | 'listMetricDescriptors'
  | 'listPodSandboxMetrics'
  | 'streamPodSandboxMetrics'
  | 'runtimeConfig'
> = {
  reopenContainerLog: refuse('reopenContainerLog'),
  execSync: refuse('execSync'),
  exec: refuse('exec'),
  attach: refuse('attach'),
  portForward: refuse('portForward'),
  containerStats: refuse('containerStats'),
  listContainerStats: refuse('listContainerStats'),
  streamContainerStats: refuseStream('streamContainerStats'),
  podSandboxStats: refuse('podSandboxStats'),
  listPodSandboxStats: refuse('listPodSandboxStats'),
  streamPodSandboxStats: refuseStream('streamPodSandboxStats'),
  checkpointContainer: refuse('checkpointContainer'),
  listMetricDescriptors: refuse('listMetricDescriptors'),
  listPodSandboxMetrics: refuse('listPodSandboxMetrics'),
  streamPodSandboxMetrics: refuseStream('streamPodSandboxMetrics'),
  runtimeConfig: refuse('runtimeConfig'),
}
