// Rules for certificates of a pod in its volumes. Pure.
import { podKeyTypes } from '../../certificate/pod-key.ts'
import type { PodCertificateProjection } from '../../certificate/pod-request.ts'
import { type FieldErrors, invalid, required, unsupported } from '../field-error.ts'
import { volumeFilePath } from '../values.ts'

/** Seconds: an hour, and 91 days. */
const [shortest, longest] = [3600, 7_862_400]
const paths = ['credentialBundlePath', 'keyPath', 'certificateChainPath'] as const

/** @param source of a pod that may have been written by hand */
export function* podCertificateErrors(source: Partial<PodCertificateProjection>, path: string): FieldErrors {
  const { signerName, keyType, maxExpirationSeconds } = source
  if (!signerName) yield required(`${path}.signerName`)
  if (!podKeyTypes.some((type) => type === keyType)) {
    yield unsupported(`${path}.keyType`, keyType ?? '', podKeyTypes)
  }
  const seconds = maxExpirationSeconds ?? shortest
  const limit = seconds < shortest ? `>= ${shortest}` : seconds > longest ? `<= ${longest}` : undefined
  if (limit)
    yield invalid(`${path}.maxExpirationSeconds`, seconds, `if provided, maxExpirationSeconds must be ${limit}`)
  const given = paths.filter((name) => source[name])
  if (given.length === 0) yield required(path, `specify at least one of ${paths.join(', ')}`)
  for (const name of given) yield* volumeFilePath(`${path}.${name}`, source[name] ?? '')
}
