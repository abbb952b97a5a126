declare const brand: unique symbol;
/** A value of type `T` that only its own constructor makes, so that two kinds of number cannot be mixed up. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** `0x` and lower-case hexadecimal digits. */
export type Hex = `0x${string}`;
/** A 20-byte account or contract address. */
export type Address = `0x${string}`;
/** Hash of a request: the id of a job. 32 bytes. */
export type JobId = Brand<Hex, "JobId">;
/** Seconds since 1970, as block timestamps count. */
export type UnixSeconds = number;
/** Token units per second, scaled by 1e18, as the contracts store it. */
export type RateX18 = Brand<bigint, "RateX18">;

export const X18 = 10n ** 18n;
export const MIB = 1024 * 1024;
