// The RuntimeService of CRI v1.
import { CgroupDriver, RuntimeConfigResponse, StatusResponse } from '@nodelet/cri-api'
import type { RuntimeCondition, RuntimeHandler, RuntimeService } from '@nodelet/cri-api'
import type { Cni } from '@nodelet/cni-plugins'
import type { Handlers } from './handlers.ts'
import { containerCalls } from './service-containers.ts'
import type { ServiceContext } from './service-context.ts'
import { sandboxCalls } from './service-sandboxes.ts'
import { metricsCalls } from './service-metrics.ts'
import { statsCalls } from './service-stats.ts'

/** All calls. Failures are CriErrors, or errors whose text is for users. */
export function createRuntimeService(context: ServiceContext): RuntimeService {
  const { name, version, handlers, cni, events } = context
  return {
    ...sandboxCalls(context),
    ...containerCalls(context),
    ...statsCalls(context),
    ...metricsCalls(context),
    version: async () => ({
      version: '0.1.0',
      runtimeName: name,
      runtimeVersion: version,
      runtimeApiVersion: 'v1',
    }),
    status: async ({ verbose }, { signal } = {}) => {
      // There /sys is the node's, which only recursively read-only mounts keep from being written.
      const { features } = handlers.of('')
      const hostNetwork = features.userNamespaces && features.recursiveReadOnlyMounts
      const problem = await networkProblem(cni, signal)
      const ready = { type: 'RuntimeReady', status: true, reason: '', message: '' }
      return StatusResponse.fromPartial({
        status: { conditions: [ready, networkCondition(problem)] },
        info: verbose ? await statusInfo(context, problem) : {},
        runtimeHandlers: runtimeHandlers(handlers),
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: hostNetwork },
      })
    },
    runtimeConfig: async () =>
      RuntimeConfigResponse.fromPartial({
        linux: { cgroupDriver: handlers.cgroupDriver === 'systemd' ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS },
      }),
    // The pods' addresses are the network list's: the node has no other use for the range.
    updateRuntimeConfig: async () => ({}),
    getContainerEvents: (_request, { signal } = {}) => events.read(signal),
  }
}

/** Sorted by name; the empty one is the default. */
function runtimeHandlers(handlers: Handlers): RuntimeHandler[] {
  const all = [{ ...handlers.of(''), name: '' }, ...handlers.list()]
  return all.map(({ name, features }) => ({ name, features })).toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** What keeps pods from being joined to the network; undefined when nothing does. */
async function networkProblem(cni: Cni, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    await cni.status(signal)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

function networkCondition(problem: string | undefined): RuntimeCondition {
  const type = 'NetworkReady'
  if (problem === undefined) return { type, status: true, reason: '', message: '' }
  const message = `Network plugin returns error: ${problem}`
  return { type, status: false, reason: 'NetworkPluginNotReady', message }
}

/** The keys that users of other runtimes read, each a text. */
async function statusInfo(
  { name, version, handlers, cni, streaming }: ServiceContext,
  problem: string | undefined,
): Promise<Record<string, string>> {
  return {
    config: JSON.stringify({
      runtimeName: name,
      cgroupDriver: handlers.cgroupDriver,
      defaultHandler: handlers.of('').name,
      handlers: Object.fromEntries(handlers.list().map((one) => [one.name, { path: one.runc.binary }])),
      streaming: streaming !== undefined,
    }),
    // Who asks looks for what is wrong: a faulty list is told in the place of the networks, and fails nothing else.
    cniconfig: JSON.stringify(await cni.config().catch((error: Error) => ({ error: error.message }))),
    lastCNILoadStatus: problem ?? 'OK',
    runtimeVersion: version,
  }
}
