// KubeletConfiguration `rotateCertificates`: the certificate by which the API server knows the node is renewed in time.
import { join } from 'node:path'
import type { KubeClient } from '@nodelet/kube-client'
import { type Rotation, startRotation } from '../certificate/rotation.ts'
import { clientSigning, nodeSubject, requestCertificate } from '../certificate/signing.ts'
import { certificateStore } from '../certificate/store.ts'
import type { Clock } from '../clock.ts'
import type { Logger } from '../log.ts'
import type { KubeletMetrics } from '../metrics/kubelet-metrics.ts'

export interface ClientRotationOptions {
  client: KubeClient
  nodeName: string
  rootDir: string
  /** The node has no certificate any more, and cannot get one. */
  lost(error: Error): void
  metrics: KubeletMetrics
  clock: Clock
  log: Logger
}

/**
 * Renews `pki/kubelet-client-current.pem`, which a kubeconfig names that was made by joining; clients read it anew by themselves.
 * Undefined when there is none: then the node is known by something else.
 */
export async function rotateClient(options: ClientRotationOptions): Promise<Rotation | undefined> {
  const { client, nodeName, rootDir, metrics, clock, log } = options
  const store = certificateStore(join(rootDir, 'pki'), 'kubelet-client')
  if (!(await store.read())) {
    log.info({ path: store.path }, 'there is no such certificate: none is renewed')
    return undefined
  }
  return startRotation({
    what: 'client',
    store,
    request: async (key, signal) =>
      requestCertificate({ client, key, subject: nodeSubject(nodeName), ...clientSigning, signal }),
    lost: options.lost,
    failed: () => metrics.clientRenewErrors.inc(),
    clock,
    log,
  })
}
