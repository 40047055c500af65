// Credentials for images that do not come from pods.
import type { AuthConfig } from '@nodelet/cri-api'
import { defineResource, type KubeClient } from '@nodelet/kube-client'
import type { Pod, ServiceAccount } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import type { KubeletOptions } from '../config.ts'
import { parseCredentialProviderConfig } from '../credential/config.ts'
import { nodeCredentialFiles, readNodeCredentials } from '../credential/node-files.ts'
import { type AccountFacts, createCredentialProviders } from '../credential/providers.ts'
import type { Logger } from '../log.ts'
import type { ObjectSource } from '../objects.ts'
import { matchCredentials } from '../pod/pull-secrets.ts'

const serviceAccounts = defineResource<ServiceAccount>({
  group: '',
  version: 'v1',
  plural: 'serviceaccounts',
  kind: 'ServiceAccount',
  namespaced: true,
})

export interface NodeCredentialsOptions {
  rootDir: string
  providers: KubeletOptions['imageCredentialProviders']
  client: Pick<KubeClient, 'get'> | undefined
  objects: Pick<ObjectSource, 'token'>
  clock: Clock
  log: Logger
}

/** @throws RangeError naming what is wrong in the configuration of the programs */
export function nodeCredentialsOf(
  options: NodeCredentialsOptions,
): (image: string, pod: Pod, signal: AbortSignal) => Promise<AuthConfig[]> {
  const { rootDir, providers, client, objects, clock, log } = options
  const account = async (
    { metadata, spec }: Pod,
    audience: string,
    signal: AbortSignal,
  ): Promise<AccountFacts | undefined> => {
    const { namespace = 'default' } = metadata ?? {}
    const name = spec?.serviceAccountName
    if (!client || !name) return undefined
    const found = await client.get(serviceAccounts, { name, namespace }, { signal })
    const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name: metadata?.name ?? '', uid: metadata?.uid ?? '' }
    const { token } = await objects.token(namespace, name, { audiences: [audience], boundObjectRef }, signal)
    return { uid: found.metadata?.uid ?? '', token, annotations: found.metadata?.annotations ?? {} }
  }
  const programs =
    providers &&
    createCredentialProviders({
      providers: parseCredentialProviderConfig(providers.config, 'createKubelet: imageCredentialProviders.config'),
      binDir: providers.binDir,
      account,
      clock,
      log,
    })
  return async (image, pod, signal) => [
    ...matchCredentials(image, await readNodeCredentials(nodeCredentialFiles(rootDir), log)).map(({ auth }) => auth),
    ...((await programs?.credentials(image, pod, signal)) ?? []),
  ]
}
