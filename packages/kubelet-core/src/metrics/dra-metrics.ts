// Metrics of dynamic resources.
import type { Gauge, Histogram } from 'prom-client'
import type { Families } from './families.ts'

export interface DraMetrics {
  claimSeconds: Histogram<'operation_name' | 'is_error'>
  draCallSeconds: Histogram<'driver_name' | 'method_name' | 'grpc_status_code'>
  claimsInUse: Gauge<'driver_name'>
}

export function draMetrics({ gauge, histogram }: Families): DraMetrics {
  return {
    claimSeconds: histogram(
      'dra_operations_duration_seconds',
      'How long it took to prepare or unprepare all claims of a pod',
      ['operation_name', 'is_error'],
    ),
    draCallSeconds: histogram('dra_grpc_operations_duration_seconds', 'How long calls of DRA drivers take', [
      'driver_name',
      'method_name',
      'grpc_status_code',
    ]),
    claimsInUse: gauge('dra_resource_claims_in_use', 'Claims that pods use, by driver; all of them as driver <any>', [
      'driver_name',
    ]),
  }
}

/** Claims by their drivers. */
export function countClaims(
  { claimsInUse }: Pick<DraMetrics, 'claimsInUse'>,
  claims: readonly { drivers: ReadonlyMap<string, unknown> }[],
): void {
  claimsInUse.reset()
  claimsInUse.set({ driver_name: '<any>' }, claims.length)
  for (const { drivers } of claims) for (const driver of drivers.keys()) claimsInUse.inc({ driver_name: driver })
}
