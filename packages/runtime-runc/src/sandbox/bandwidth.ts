// How fast a pod may send and receive, from its annotations.
import { CriError } from '@nodelet/cri-api'

/** Bits per second, and bits at once. */
export interface Bandwidth {
  ingressRate?: number
  ingressBurst?: number
  egressRate?: number
  egressBurst?: number
}

const prefix = 'kubernetes.io/'
const units: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
}
const [smallest, largest] = [1e3, 1e15]
/** No limit but the rate: the largest that the plugin takes. */
const burst = 2 ** 32 - 1

/**
 * Undefined when the pod asks for none.
 *
 * @throws CriError INVALID_ARGUMENT naming the annotation and its value; 1k to 1P are allowed.
 */
export function podBandwidth(annotations: Readonly<Record<string, string>>): Bandwidth | undefined {
  const ingressRate = rateOf(annotations, `${prefix}ingress-bandwidth`)
  const egressRate = rateOf(annotations, `${prefix}egress-bandwidth`)
  if (ingressRate === undefined && egressRate === undefined) return undefined
  return {
    ...(ingressRate !== undefined && { ingressRate, ingressBurst: burst }),
    ...(egressRate !== undefined && { egressRate, egressBurst: burst }),
  }
}

function rateOf(annotations: Readonly<Record<string, string>>, name: string): number | undefined {
  const text = annotations[name]
  if (text === undefined) return undefined
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)(Ki|k|[MGTP]i?)?$/.exec(text) ?? []
  const rate = Math.ceil(Number(number) * (units[unit] ?? Number.NaN))
  if (rate >= smallest && rate <= largest) return rate
  throw new CriError(
    'INVALID_ARGUMENT',
    `annotation ${name}: "${text}" is no rate from 1k to 1P: write for instance 10M`,
  )
}
