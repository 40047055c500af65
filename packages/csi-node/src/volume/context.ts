// What a driver is told of the pod that a volume is for. Pure.
import { tokensKey } from '../tokens.ts'
import type { CsiPod, CsiVolume, DriverSettings, TokenWish } from './types.ts'

type StringMap = Readonly<Record<string, string>>

const prefix = 'csi.storage.k8s.io/'

/** @throws Error when the driver does not take volumes of this life */
export function checkLifecycle({ driver, lifecycle }: CsiVolume, settings: DriverSettings | undefined): void {
  const modes = settings?.volumeLifecycleModes?.length ? settings.volumeLifecycleModes : ['Persistent']
  if (modes.includes(lifecycle)) return
  const why = settings ? `only supports ${JSON.stringify(modes).replaceAll(',', ' ')}` : 'no CSIDriver object'
  throw new Error(`volume mode ${JSON.stringify(lifecycle)} not supported by driver ${driver} (${why})`)
}

/** Attributes of the volume, and of its pod when the driver asks for them. */
export function volumeContext(volume: CsiVolume, pod: CsiPod, settings: DriverSettings | undefined): StringMap {
  if (!settings?.podInfoOnMount) return { ...volume.attributes }
  return {
    ...volume.attributes,
    [`${prefix}pod.name`]: pod.name,
    [`${prefix}pod.namespace`]: pod.namespace,
    [`${prefix}pod.uid`]: pod.uid,
    [`${prefix}serviceAccount.name`]: pod.serviceAccountName,
    [`${prefix}ephemeral`]: String(volume.lifecycle === 'Ephemeral'),
  }
}

export interface IssuedToken {
  token: string
  expirationTimestamp: string
}

/** Tokens by audience, as drivers read them. */
export const tokensEntry = (tokens: readonly (readonly [TokenWish, IssuedToken])[]): StringMap => {
  if (tokens.length === 0) return {}
  const byAudience = tokens.map(([{ audience }, { token, expirationTimestamp }]) => [
    audience,
    { token, expirationTimestamp },
  ])
  return { [tokensKey]: JSON.stringify(Object.fromEntries(byAudience)) }
}
