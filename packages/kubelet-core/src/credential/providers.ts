// Credentials for images from the configured programs, remembered as long as they say.
import type { AuthConfig } from '@nodelet/cri-api'
import { AuthConfig as AuthMessage } from '@nodelet/cri-api'
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import type { Clock } from '../clock.ts'
import { parseDuration } from '../duration.ts'
import type { Logger } from '../log.ts'
import { parseImageReference } from '../pod/image-reference.ts'
import { type Credential, matchCredentials } from '../pod/pull-secrets.ts'
import type { CredentialProvider, TokenAttributes } from './config.ts'
import { askProvider, type ProviderAnswer, type ProviderRequest } from './program.ts'

/** What a program may be told of the pod's service account. */
export interface AccountFacts {
  uid: string
  token: string
  annotations: Readonly<Record<string, string>>
}

export interface CredentialProvidersOptions {
  providers: readonly CredentialProvider[]
  /** The folder of the programs. */
  binDir: string
  /** The pod's service account with a token for this audience; undefined for a pod without one. */
  account?: ((pod: Pod, audience: string, signal: AbortSignal) => Promise<AccountFacts | undefined>) | undefined
  clock: Clock
  log: Logger
}

export interface CredentialProviders {
  /** The most specific first. A program that fails is told to the log, and gives none. */
  credentials(image: string, pod: Pod, signal: AbortSignal): Promise<AuthConfig[]>
}

const most = 1024

export function createCredentialProviders(options: CredentialProvidersOptions): CredentialProviders {
  const { providers, binDir, account, clock, log } = options
  const known = new Map<string, { answer: ProviderAnswer; untilMs: number }>()
  const asking = new Map<string, Promise<ProviderAnswer>>()

  const cached = (keys: readonly string[]): ProviderAnswer | undefined => {
    for (const key of keys) {
      const entry = known.get(key)
      if (entry && clock.now() < entry.untilMs) return entry.answer
      known.delete(key)
    }
    return undefined
  }

  const ask = async (
    provider: CredentialProvider,
    image: string,
    pod: Pod,
    signal: AbortSignal,
  ): Promise<ProviderAnswer> => {
    const about = await accountFor(provider.tokenAttributes, pod, signal)
    const { host } = parseImageReference(image)
    const owner = JSON.stringify([provider.name, about?.key ?? ''])
    const keyOf = { Image: `${owner} image ${image}`, Registry: `${owner} registry ${host}`, Global: `${owner} global` }
    const before = cached([keyOf.Image, keyOf.Registry, keyOf.Global])
    if (before) return before
    const running = asking.get(keyOf.Image)
    if (running) return running
    const fresh = askProvider(provider, binDir, { image, ...about?.request }, signal)
    asking.set(keyOf.Image, fresh)
    try {
      const answer = await fresh
      const ms = answer.cacheMs ?? parseDuration(provider.defaultCacheDuration)
      if (known.size >= most) known.delete(known.keys().next().value ?? '')
      if (ms > 0) known.set(keyOf[answer.cacheKeyType], { answer, untilMs: clock.now() + ms })
      return answer
    } finally {
      asking.delete(keyOf.Image)
    }
  }

  /** @throws Error when the program needs what the pod has not */
  const accountFor = async (
    wanted: TokenAttributes | undefined,
    pod: Pod,
    signal: AbortSignal,
  ): Promise<{ key: string; request: Omit<ProviderRequest, 'image'> } | undefined> => {
    if (!wanted) return undefined
    const facts = await account?.(pod, wanted.serviceAccountTokenAudience, signal)
    if (!facts) {
      if (wanted.requireServiceAccount) throw new Error('the pod has no service account, which the provider requires')
      return undefined
    }
    const { requiredServiceAccountAnnotationKeys: required, optionalServiceAccountAnnotationKeys: optional } = wanted
    const missing = required.find((key) => facts.annotations[key] === undefined)
    if (missing !== undefined)
      throw new Error(`the service account has no annotation ${missing}, which the provider requires`)
    const told = Object.entries(facts.annotations).filter(([key]) => required.includes(key) || optional.includes(key))
    const annotations = Object.fromEntries(told)
    const key = JSON.stringify([
      wanted.cacheType === 'Token' ? facts.token : facts.uid,
      told.toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ])
    return { key, request: { serviceAccountToken: facts.token, serviceAccountAnnotations: annotations } }
  }

  return {
    async credentials(image, pod, signal) {
      const fitting = providers.filter(({ matchImages }) => matches(matchImages, image))
      const answers = await Promise.all(
        fitting.map(async (provider) => {
          try {
            return await ask(provider, image, pod, signal)
          } catch (error) {
            signal.throwIfAborted()
            log.warn({ err: error, provider: provider.name, image }, 'a credential provider gives no credentials')
            return undefined
          }
        }),
      )
      return matchCredentials(image, answers.flatMap(credentialsIn)).map(({ auth }) => auth)
    },
  }
}

const matches = (patterns: readonly string[], image: string): boolean =>
  matchCredentials(
    image,
    patterns.map((pattern) => ({ pattern, auth: AuthMessage.create() })),
  ).length > 0

const credentialsIn = (answer: ProviderAnswer | undefined): Credential[] =>
  Object.entries(answer?.auth ?? {}).map(([pattern, { username, password }]) => ({
    pattern,
    auth: AuthMessage.create({ username, password, serverAddress: pattern }),
  }))
