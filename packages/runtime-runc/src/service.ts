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
      const network = await networkCondition(cni, signal)
      const ready = { type: 'RuntimeReady', status: true, reason: '', message: '' }
      // Asked for every few seconds, but not so: it reads the network's file anew.
      const info = async (): Promise<Record<string, string>> => ({
        config: JSON.stringify({
          runtimeName: name,
          cgroupDriver: handlers.cgroupDriver,
          defaultHandler: handlers.of('').name,
          handlers: Object.fromEntries(handlers.list().map((one) => [one.name, { path: one.runc.binary }])),
          streaming: context.streaming !== undefined,
        }),
        cniconfig: JSON.stringify(await cni.config()),
        lastCNILoadStatus: network.status ? 'OK' : network.message.replace(networkProblem, ''),
        runtimeVersion: version,
      })
      return StatusResponse.fromPartial({
        status: { conditions: [ready, network] },
        info: verbose ? await info() : {},
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

const networkProblem = 'Network plugin returns error: '

/** Sorted by name; the empty one is the default. */
function runtimeHandlers(handlers: Handlers): RuntimeHandler[] {
  const all = [{ ...handlers.of(''), name: '' }, ...handlers.list()]
  return all.map(({ name, features }) => ({ name, features })).toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

async function networkCondition(cni: Cni, signal: AbortSignal | undefined): Promise<RuntimeCondition> {
  const type = 'NetworkReady'
  try {
    await cni.status(signal)
    return { type, status: true, reason: '', message: '' }
  } catch (error) {
    const message = `${networkProblem}${(error as Error).message}`
    return { type, status: false, reason: 'NetworkPluginNotReady', message }
  }
}
