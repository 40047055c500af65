// A cluster of equal Services.
import type { Service } from 'kubernetes-types/core/v1.d.ts'
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.d.ts'

export interface Size {
  services: number
  /** Of each Service. */
  endpoints: number
}

/** @param text for instance `1000x5`; 5 endpoints when it names none */
export function parseSize(text: string): Size {
  const [, services = '', endpoints = '5'] = /^(\d+)(?:x(\d+))?$/.exec(text) ?? []
  const size = { services: Number(services), endpoints: Number(endpoints) }
  const isGood = size.services >= 1 && size.services <= 50_000 && size.endpoints >= 1 && size.endpoints <= 60
  if (!isGood) throw new RangeError(`--sizes: ${JSON.stringify(text)} is no size; write 1000x5, at most 50000x60`)
  return size
}

export const sizeText = ({ services, endpoints }: Size): string => `${services} × ${endpoints}`

/** All endpoints are addresses of this range, which the namespace of the benchmark has as a whole. */
export const endpointRange = '10.128.0.0/9'
export const serviceRange = '10.96.0.0/12'
export const servicePort = 80
export const endpointPort = 8080

const address = (first: number, index: number): string =>
  `10.${first + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`
const nameOf = (index: number): string => `service-${String(index).padStart(5, '0')}`
export const clusterIP = (index: number): string => address(96, index + 1)
/** Endpoints that a change puts in the place of another are beyond those of the beginning. */
export const endpointIP = (index: number): string => address(128, index + 1)

export const serviceOf = (index: number): Service => ({
  metadata: { namespace: 'bench', name: nameOf(index), uid: nameOf(index) },
  spec: { clusterIP: clusterIP(index), ports: [{ name: 'http', port: servicePort, protocol: 'TCP' }] },
})

/** @param replaced the number of an address that the first endpoint has instead of its own */
export function sliceOf(index: number, { endpoints }: Size, replaced?: number): EndpointSlice {
  const first = index * endpoints
  const numbers = Array.from({ length: endpoints }, (_, at) => (at === 0 && replaced ? replaced : first + at))
  return {
    metadata: {
      namespace: 'bench',
      name: `${nameOf(index)}-1`,
      uid: `${nameOf(index)}-1`,
      labels: { 'kubernetes.io/service-name': nameOf(index) },
    },
    addressType: 'IPv4',
    endpoints: numbers.map((number) => ({ addresses: [endpointIP(number)], conditions: { ready: true } })),
    ports: [{ name: 'http', port: endpointPort, protocol: 'TCP' }],
  }
}

export const servicesOf = ({ services }: Size): Service[] =>
  Array.from({ length: services }, (_, index) => serviceOf(index))
export const slicesOf = (size: Size): EndpointSlice[] =>
  Array.from({ length: size.services }, (_, index) => sliceOf(index, size))
