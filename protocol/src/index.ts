export {
  attestationRegistryAbi,
  committeeAbi,
  committeeQuoteVerifierAbi,
  dcapQuoteVerifierAbi,
  identityRegistryAbi,
  jobMarketAbi,
  juryArbiterAbi,
  providerStakingAbi,
  quorumVerifierAbi,
  teeVerifierAbi,
  testTokenAbi,
  tpmQuoteVerifierAbi,
} from "./abi/index.ts";
export { canonicalBytes, documentHash, MAX_DOCUMENT_BYTES } from "./canonical.ts";
export { cidToDigest, digestToCid } from "./cid.ts";
export { ZERO_ADDRESS, ZERO_BYTES32 } from "./constants.ts";
export { type Deployment, deploymentSchema, knownDeployments, parseDeployment } from "./deployment.ts";
export { didAttributes, didOf } from "./did.ts";
export { type ErrorDetails, type ErrorJson, errorToJson, MarketError } from "./errors.ts";
export {
  type Endorsement,
  type Evidence,
  type ExecEvidence,
  endorsementPayload,
  endorsementSchema,
  eventDigest,
  evidenceSchema,
  imageEvent,
  MAX_EVENTS,
  type MeasuredEvent,
  measuredEventSchema,
  type NoneEvidence,
  replayEventLog,
  type Tpm2Evidence,
} from "./evidence.ts";
export { type Misfit, misfits, type NodeStanding, type NodeUse, standingMisfits } from "./fit.ts";
export { parseImageJson } from "./image-json.ts";
export {
  type JuryDomain,
  juryEvidence,
  type Panel,
  panelHash,
  sortedJurors,
  type Vote,
  voteTypedData,
} from "./jury.ts";
export { KEY_REPORT_DOMAIN, type KeyReportFields, keyReport } from "./key-report.ts";
export {
  assertLogAccess,
  encodeLogAccess,
  type LogAccess,
  type LogsEnd,
  logAccessTypedData,
  logsEndSchema,
  MAX_LOG_ACCESS_SECONDS,
  parseLogAccess,
  type SignedLogAccess,
} from "./log-access.ts";
export { type MeshIdentity, meshAddress, meshPrefix, meshSubnet } from "./mesh-address.ts";
export { type OperatorTree, operatorTree } from "./operators.ts";
export {
  addressSchema,
  assignmentSchema,
  bytes32Schema,
  bytesSchema,
  jobSchema,
  offerSchema,
  orderToJson,
  parseWith,
  requestSchema,
  termsSchema,
  toJson,
  uintSchema,
} from "./order-json.ts";
export {
  type Claim,
  jobIdOf,
  type MarketDomain,
  MODE,
  type NodeLimits,
  nodeKeyTypedData,
  type Offer,
  offerHashOf,
  offerTypedData,
  orderDomain,
  orderTypes,
  type Request,
  requestTypedData,
  textToBytes32,
} from "./orders.ts";
export { chargeDown, chargeOfDown, compensationDown, depositOf, depositUp, priceOf, rateX18 } from "./pricing.ts";
export {
  dataToQuorum,
  MAX_QUORUM_REPLICAS,
  type Opening,
  type Quorum,
  type QuorumFlaw,
  type QuorumJob,
  quorumFlaw,
  quorumFlaws,
  quorumToData,
  revealClosesAt,
  SEAL_DOMAIN,
  sealOf,
} from "./quorum.ts";
export { type JobNonceFields, jobNonce, REPORT_DATA_DOMAIN, type ReportDataFields, reportData } from "./report-data.ts";
export {
  type Outcome,
  outcomes,
  parseResult,
  type Result,
  recoverResultSigner,
  resultJsonSchema,
  resultSchema,
  resultTypedData,
  type UnsignedResult,
} from "./result.ts";
export { shownUrl } from "./shown-url.ts";
export { type RequestFlaw, type RequestTerms, requestFlaw, requireSound } from "./sound.ts";
export {
  cidSchema,
  digestSchema,
  imageSourceSchema,
  parseSpec,
  type Spec,
  specJsonSchema,
  specSchema,
} from "./spec.ts";
export {
  attestedResultTypedData,
  type TeeDomain,
  type TeePolicy,
  teePolicyBytes,
  teePolicyHash,
  teeProof,
} from "./tee-policy.ts";
export {
  type Assignment,
  claimHash,
  type Job,
  replicaCommitment,
  type Terms,
  termsHash,
  termsOf,
} from "./terms.ts";
export { maskToTraits, type Trait, traitBits, traitNames, traitsToMask } from "./traits.ts";
export { type Address, type Brand, type Hex, type JobId, MIB, type RateX18, type UnixSeconds, X18 } from "./units.ts";
