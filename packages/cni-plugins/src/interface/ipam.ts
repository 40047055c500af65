// Addresses are given by another plugin. @see CNI spec 1.1, section 4
import { CniError, cniCode } from '../errors.ts'
import type { PluginCall, PluginContext } from '../sdk/define-plugin.ts'
import type { AttachmentKey, CniResult, Host, RequestConfig } from '../types.ts'

/** The part of a configuration that names the plugin; absent: the link gets no addresses. */
export interface WithIpam {
  ipam?: { type: string } | undefined
}
type Call = PluginCall<WithIpam>

/** What the pod is to have. @throws CniError also when it has no address */
export async function lease({ config: { ipam }, request }: Call, host: Host, signal: AbortSignal): Promise<CniResult> {
  if (!ipam) throw new CniError(cniCode.badConfig, 'ipam: missing')
  const leased = await host.plugin(ipam.type).add(request, host, signal)
  if (leased.ips.length === 0) throw new CniError(cniCode.internal, 'IPAM plugin returned missing IP config')
  return leased
}

/** Comes last in a DEL: another pod may get the address at once. Fine when there is nothing. */
export async function release({ config: { ipam }, request }: Call, host: Host, signal: AbortSignal): Promise<void> {
  if (ipam) await host.plugin(ipam.type).del(request, host, signal)
}

export async function checkLease({ config: { ipam }, request }: Call, host: Host, signal: AbortSignal): Promise<void> {
  if (ipam) await host.plugin(ipam.type).check(request, host, signal)
}

/** Verbs that only the plugin of addresses has something to do for. */
export const byIpam = {
  async gc(
    {
      config: { ipam },
      valid,
      request,
    }: PluginContext<WithIpam> & { valid: readonly AttachmentKey[]; request: RequestConfig },
    host: Host,
    signal: AbortSignal,
  ): Promise<void> {
    if (ipam) await host.plugin(ipam.type).gc(request, valid, host, signal)
  },
  async status(
    { config: { ipam }, request }: PluginContext<WithIpam> & { request: RequestConfig },
    host: Host,
    signal: AbortSignal,
  ): Promise<void> {
    if (ipam) await host.plugin(ipam.type).status(request, host, signal)
  },
}
