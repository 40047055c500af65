// The range of addresses of this node's pods, as the runtime is told it.
import type { RuntimeService } from '@nodelet/cri-api'
import type { Node } from 'kubernetes-types/core/v1.d.ts'
import type { Logger } from '../log.ts'

export interface NetworkRange {
  /** @throws CriError */
  tell(podCidr: string): Promise<void>
  /** The control plane may give the node another range than asked. */
  follow(node: Node): void
}

export function createNetworkRange(runtime: Pick<RuntimeService, 'updateRuntimeConfig'>, log: Logger): NetworkRange {
  let range: string | undefined
  const tell = async (podCidr: string): Promise<void> => {
    range = podCidr
    await runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } })
  }
  return {
    tell,
    follow({ spec }) {
      const given = (spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : [])).join(',')
      if (!given || given === range) return
      tell(given).catch((error: unknown) => log.warn({ err: error, range: given }, 'telling the runtime its range'))
    },
  }
}
