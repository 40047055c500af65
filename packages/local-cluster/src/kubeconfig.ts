// Kubeconfigs for the cluster's own clients.
import { rename, writeFile } from 'node:fs/promises'
import { stringify } from 'yaml'
import type { KeyPair } from './pki.ts'

/** Writes a kubeconfig that only root reads; whole or not at all. */
export async function writeKubeconfig(
  path: string,
  { server, ca, user, credentials }: { server: string; ca: string; user: string; credentials: KeyPair },
): Promise<string> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const cluster = 'nodelet'
  const context = `${user}@${cluster}`
  const content = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: cluster, cluster: { server, 'certificate-authority-data': base64(ca) } }],
    users: [
      {
        name: user,
        user: {
          'client-certificate-data': base64(credentials.certificate),
          'client-key-data': base64(credentials.key),
        },
      },
    ],
    contexts: [{ name: context, context: { cluster, user } }],
    'current-context': context,
  }
  const temporary = `${path}.tmp`
  await writeFile(temporary, stringify(content), { mode: 0o600, flush: true })
  await rename(temporary, path)
  return path
}
