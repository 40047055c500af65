// Metrics of CSI drivers.
import type { Histogram } from 'prom-client'
import type { Families } from './families.ts'

export interface CsiMetrics {
  csiSeconds: Histogram<'driver_name' | 'method_name' | 'grpc_status_code' | 'migrated'>
}

export const csiMetrics = ({ histogram }: Families): CsiMetrics => ({
  csiSeconds: histogram(
    'csi_operations_seconds',
    'How long calls of CSI drivers take',
    ['driver_name', 'method_name', 'grpc_status_code', 'migrated'],
    [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600],
  ),
})
