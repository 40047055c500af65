// The addresses of a result that are on one interface of the pod.
import type { CniResult } from '../types.ts'

/** Those that name no interface count, too. */
export const podIps = ({ ips, interfaces }: CniResult, ifName: string): CniResult['ips'] =>
  ips.filter(({ interface: at }) => at === undefined || interfaces[at]?.name === ifName)
