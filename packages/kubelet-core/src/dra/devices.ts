// What a container has of its pod's claims. Pure.
import type { Container, Pod, ResourceClaim } from 'kubernetes-types/core/v1.d.ts'
import type { DeviceHealth } from '../device/manager.ts'
import { neededClaims } from './claim.ts'
import { type ClaimDevice, type ClaimInfo, type Claims, keyOf } from './state.ts'

/** What a container has of one claim. */
export interface ContainerClaim {
  /** Undefined when it was never prepared. */
  claim: ClaimInfo | undefined
  name: string
  devices: (ClaimDevice & { driver: string })[]
}

type ClaimUse = ResourceClaim & { request?: string }

/** @throws Error naming the pod: a claim is not there yet */
export function claimsOfContainer(pod: Pod, container: Container, known: Claims): ContainerClaim[] {
  const uses: readonly ClaimUse[] = container.resources?.claims ?? []
  if (uses.length === 0) return []
  const { namespace = '' } = pod.metadata ?? {}
  return neededClaims(pod).flatMap(({ entry, name }): ContainerClaim[] => {
    const requests = uses.filter((use) => use.name === entry).map(({ request }) => request)
    if (requests.length === 0) return []
    const claim = known.get(keyOf({ namespace, name }))
    const serves = ({ requests: served }: ClaimDevice): boolean =>
      served.length === 0 || requests.some((request) => !request || served.includes(request))
    const devices = [...(claim?.drivers ?? [])].flatMap(([driver, all]) =>
      all.filter(serves).map((device) => ({ ...device, driver })),
    )
    return [{ claim, name, devices }]
  })
}

/** `claim:ENTRY` or `claim:ENTRY/REQUEST` → its devices, and how they are. @throws as {@link claimsOfContainer} */
export function healthOfContainer(
  pod: Pod,
  container: Container,
  known: Claims,
  healthOf: (driver: string, pool: string, device: string) => DeviceHealth['health'],
): Map<string, DeviceHealth[]> {
  const uses: readonly ClaimUse[] = container.resources?.claims ?? []
  return new Map(
    uses.flatMap((use): [string, DeviceHealth[]][] => {
      const only = { ...container, resources: { claims: [use] } }
      const devices = claimsOfContainer(pod, only, known).flatMap((one) => one.devices)
      const healths = devices.map(({ driver, pool, device, cdiIds: [id = `${driver}/${pool}/${device}`] }) => ({
        resourceID: id,
        health: healthOf(driver, pool, device),
      }))
      const unique = [...new Map(healths.toReversed().map((one) => [one.resourceID, one])).values()].toReversed()
      return unique.length > 0 ? [[`claim:${use.name}${use.request ? `/${use.request}` : ''}`, unique]] : []
    }),
  )
}

/** For the container's configuration. @throws Error naming a claim that is not prepared */
export function cdiIdsOf(pod: Pod, container: Container, known: Claims): string[] {
  const ids = claimsOfContainer(pod, container, known).flatMap(({ claim, name, devices }) => {
    if (!claim) throw new Error(`ResourceClaim ${name} in namespace ${pod.metadata?.namespace} is not prepared`)
    return devices.flatMap(({ cdiIds }) => cdiIds)
  })
  return [...new Set(ids)]
}
