// CredentialProviderConfig: which programs know credentials for which images.
import { z } from 'zod'
import { parseDuration } from '../duration.ts'

/** One program. @see kubelet.config.k8s.io/v1 CredentialProvider */
export interface CredentialProvider {
  /** Of the executable in the folder of programs. */
  name: string
  /** Registry hosts, `*` per label, with port and path prefix. */
  matchImages: string[]
  defaultCacheDuration: string
  /** Of the messages: `credentialprovider.kubelet.k8s.io/v1`. */
  apiVersion: string
  args: string[]
  env: { name: string; value: string }[]
  tokenAttributes?: TokenAttributes | undefined
}

/** The program wants a token of the pod's service account. */
export interface TokenAttributes {
  serviceAccountTokenAudience: string
  cacheType: 'Token' | 'ServiceAccount'
  requireServiceAccount: boolean
  requiredServiceAccountAnnotationKeys: string[]
  optionalServiceAccountAnnotationKeys: string[]
}

const isDuration = (text: string): boolean => {
  try {
    return parseDuration(text) >= 0
  } catch {
    // The field's message says what is wrong.
    return false
  }
}

const provider = z.strictObject({
  name: z
    .string()
    .regex(/^[^\s/]+$/, 'must be a file name without blanks')
    .refine((name) => name !== '.' && name !== '..', 'must be a file name'),
  matchImages: z.array(z.string().min(1)).min(1),
  defaultCacheDuration: z.string().refine(isDuration, 'must be a duration that is not negative, such as 10m'),
  apiVersion: z.enum([
    'credentialprovider.kubelet.k8s.io/v1',
    'credentialprovider.kubelet.k8s.io/v1beta1',
    'credentialprovider.kubelet.k8s.io/v1alpha1',
  ]),
  args: z.array(z.string()).default([]),
  env: z.array(z.strictObject({ name: z.string().min(1), value: z.string() })).default([]),
  tokenAttributes: z
    .strictObject({
      serviceAccountTokenAudience: z.string().min(1),
      cacheType: z.enum(['Token', 'ServiceAccount']),
      requireServiceAccount: z.boolean(),
      requiredServiceAccountAnnotationKeys: z.array(z.string()).default([]),
      optionalServiceAccountAnnotationKeys: z.array(z.string()).default([]),
    })
    .optional(),
})

const config = z.strictObject({
  apiVersion: z.enum(['kubelet.config.k8s.io/v1', 'kubelet.config.k8s.io/v1beta1', 'kubelet.config.k8s.io/v1alpha1']),
  kind: z.literal('CredentialProviderConfig'),
  providers: z.array(provider).min(1),
})

/**
 * @param source named in errors, for instance the path of the file
 * @throws RangeError naming every wrong field
 */
export function parseCredentialProviderConfig(input: unknown, source: string): CredentialProvider[] {
  const result = config.safeParse(input)
  if (!result.success) {
    const problems = result.error.issues.map(({ path, message }) => `${path.join('.') || '(top)'}: ${message}`)
    throw new RangeError(`${source}: ${problems.join('; ')}`)
  }
  const { providers } = result.data
  const names = providers.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new RangeError(`${source}: providers: ${JSON.stringify(twice)} is there twice`)
  return providers
}
