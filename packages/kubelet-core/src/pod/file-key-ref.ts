// Variables of a container that come from files of its pod's volumes. Pure.
import type { Container, EnvVar } from 'kubernetes-types/core/v1.d.ts'

/** Newer API servers have it. @see v1.FileKeySelector */
export interface FileKeyRef {
  volumeName: string
  /** Relative to the volume. */
  path: string
  key: string
  optional?: boolean
}

export const fileKeyRefOf = ({ valueFrom }: Pick<EnvVar, 'valueFrom'>): FileKeyRef | undefined =>
  (valueFrom as { fileKeyRef?: FileKeyRef } | undefined)?.fileKeyRef

export const fileKeyRefs = ({ env = [] }: Pick<Container, 'env'>): FileKeyRef[] =>
  env.flatMap((one) => fileKeyRefOf(one) ?? [])

export const fileKey = ({ volumeName, path }: FileKeyRef): string => `${volumeName}/${path}`
